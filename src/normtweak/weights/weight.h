// What the weight of a linear may be, and what may be tuned in it.
#pragma once
#include <functional>
#include <variant>
#include <vector>

#include "normtweak/weights/affine_weight.h"
#include "normtweak/weights/codebook_weight.h"

namespace normtweak::weights {

struct FloatWeight {
  at::Tensor values;  // [out, in], in the type that the products run in
};

using Weight = std::variant<FloatWeight, AffineWeight, CodebookWeight>;

// [out, in] in `type`; the tensor itself where a float weight has that type.
at::Tensor dequantize(const Weight& weight, at::ScalarType type = at::kFloat);

// [out, in], whatever the kind.
at::IntArrayRef shape(const Weight& weight);

// Bits that the file holds for each weight, scales, zero-points and codebooks included.
double bits_per_weight(const Weight& weight);

bool is_quantized(const Weight& weight);

// All its tensors, in one order for weights of one kind.
std::vector<at::Tensor> tensors(const Weight& weight);

// The same weight with what `change` makes of each of its tensors.
Weight map_tensors(const Weight& weight, const std::function<at::Tensor(const at::Tensor&)>& change);

// The same weight with all its tensors on `device`.
Weight to_device(const Weight& weight, c10::Device device);

}  // namespace normtweak::weights
