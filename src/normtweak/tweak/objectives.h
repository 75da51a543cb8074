// Losses of the layer-wise tweak: the distance of a quantized block's output from the float block's.
#pragma once
#include <ATen/core/Tensor.h>

#include <span>
#include <string_view>

namespace normtweak::tweak {

struct Objective {
  std::string_view name, description;
  // output, target: f32 [tokens, channels] → a scalar. Differentiable in output.
  at::Tensor (*loss)(const at::Tensor& output, const at::Tensor& target);
};

std::span<const Objective> objectives();

// Throws Error listing the names.
const Objective& find_objective(std::string_view name);

}  // namespace normtweak::tweak
