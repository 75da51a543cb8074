// The weight of a linear: float, affine codes or codebook.
#pragma once
#include <functional>
#include <variant>
#include <vector>

#include "normtweak/weights/affine_weight.h"
#include "normtweak/weights/codebook_weight.h"

namespace normtweak::weights {

struct FloatWeight {
  at::Tensor values;  // [out, in], in the compute dtype
};

using Weight = std::variant<FloatWeight, AffineWeight, CodebookWeight>;

// [out, in] in `type`; a float weight that already has that dtype is returned without a copy.
at::Tensor dequantize(const Weight& weight, at::ScalarType type = at::kFloat);

// [out, in], whatever the kind.
at::IntArrayRef shape(const Weight& weight);

// Stored bits per weight, scales, zero-points and codebooks included.
double bits_per_weight(const Weight& weight);

bool is_quantized(const Weight& weight);

// All its tensors, in a fixed order for each kind of weight.
std::vector<at::Tensor> tensors(const Weight& weight);

// The same weight with `change` applied to each of its tensors.
Weight map_tensors(const Weight& weight, const std::function<at::Tensor(const at::Tensor&)>& change);

// The same weight with all its tensors on `device`.
Weight to_device(const Weight& weight, c10::Device device);

}  // namespace normtweak::weights
