// Rotary embedding in one pass over memory, on NVIDIA GPUs.
#pragma once
#include <ATen/core/Tensor.h>

namespace normtweak::model {

// Whether the kernel can serve: on a GPU that compiles it, for heads of 32 or 16 bits whose rotated and unrotated
// channels are each a multiple of eight pairs or channels, paired half a head apart.
bool has_rotary_kernel(const at::Tensor& heads, const at::Tensor& cosine, bool interleaved);

// heads: [samples, tokens, heads, head_size], turned by the angles of cosine and sine [tokens, 1, pairs] times
// `direction` (1 or -1).
at::Tensor turn_on_gpu(const at::Tensor& heads, const at::Tensor& cosine, const at::Tensor& sine, double direction);

}  // namespace normtweak::model
