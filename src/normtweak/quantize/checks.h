// Argument checks shared by all quantizers; the caller adds the name of the linear to the message.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>

namespace normtweak::quantize {

// Throws Error unless `weight` is a non-empty, finite f32 matrix.
void check_weight(const at::Tensor& weight);

// Throws Error if `tensor` holds a NaN or an infinity; `what` begins the message ("the Hessian").
void check_finite(const at::Tensor& tensor, std::string_view what);

// Throws Error unless bits is 2, 3, 4, 6 or 8: the widths that the weight codecs can pack.
void check_bits(int bits);

// Throws Error unless scales and codebooks can be stored in `type`: float16, bfloat16 or float32.
void check_scale_type(at::ScalarType type);

// The input columns that share a scale: group_size, or all `in` where it is 0. Throws Error if it does not divide `in`.
// shared: what they share, for the message.
std::int64_t resolve_group_size(int group_size, std::int64_t in, std::string_view shared = "scale");

}  // namespace normtweak::quantize
