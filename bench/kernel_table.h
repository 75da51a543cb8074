// What torch's profiler saw, as a table of the kernels that took the longest.
#pragma once
#include <torch/csrc/autograd/profiler_kineto.h>

namespace normtweak {

// Begins to record kernels and copies of a GPU, or operators where this torch has no CUDA.
void start_profile();

// Ends it. A table in Markdown of the `rows` longest by the sum of their times, under a line with the time in which the
// device was busy and that from its first kernel to its last: what lies between is waiting for the host.
std::string kernel_table(std::size_t rows);

}  // namespace normtweak
