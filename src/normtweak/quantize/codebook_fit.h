// The codebooks of rows of weights, by exact k-means.
#pragma once
#include <ATen/core/Tensor.h>

#include "normtweak/quantize/kmeans.h"

namespace normtweak::quantize {

// rows: f32 [sets, channels, columns]. weights: f32 [sets, columns], at least 0: what errors in the columns of a set
// cost; where all are 0, they count alike. The codebooks of options.bits, f32 [sets, channels, 2^bits] on the device of
// the rows: ascending, rounded to options.codebook_type, which may make them infinite. Runs on the CPU, in all threads.
at::Tensor fit_codebooks(const at::Tensor& rows, const at::Tensor& weights, const KmeansOptions& options);

// [sets, channels, entries] as CodebookWeight keeps them, [channels, sets * entries].
at::Tensor codebooks_by_channel(const at::Tensor& codebooks);

// Throws Error if an entry does not fit the type.
void check_codebooks(const at::Tensor& codebooks, at::ScalarType type);

}  // namespace normtweak::quantize
