// Codes packed as in bit_packing.h become a byte each, on NVIDIA GPUs, in one pass over memory.
#pragma once
#include <ATen/core/Tensor.h>

namespace normtweak::formats {

// Whether `device` is a GPU that compiles the kernel.
bool has_unpacking_kernel(c10::Device device);

// packed: i32 [rows, packed_columns(columns, bits)] → u8 [rows, columns].
at::Tensor unpack_on_gpu(const at::Tensor& packed, int bits, std::int64_t columns);

}  // namespace normtweak::formats
