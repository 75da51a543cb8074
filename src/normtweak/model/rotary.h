// Rotary position embedding (arXiv 2104.09864), halves of a head paired as in Hugging Face's checkpoints.
#pragma once
#include <ATen/core/Tensor.h>

#include "normtweak/model/config.h"

namespace normtweak::model {

struct RotaryTable {
  at::Tensor cosine, sine;  // f32 [positions, head_size / 2]
};

// Default, linear and llama3 scaling. `positions`: how many are tabulated.
RotaryTable make_rotary_table(const ModelConfig& config, std::int64_t positions, c10::Device device);

// A model's table, no longer than its passes need: a context may be of millions of tokens, or a mistake in a file.
// Not for use by several threads at once.
class GrowingRotaryTable {
 public:
  GrowingRotaryTable(const ModelConfig& config, c10::Device device) : config_(config), device_(device) {}

  // Holds at least the positions 0 to `positions` - 1.
  const RotaryTable& up_to(std::int64_t positions) const;

 private:
  ModelConfig config_;
  c10::Device device_;
  mutable RotaryTable table_;
};

// heads: [samples, tokens, heads, head_size]; the tokens stand at positions start, start + 1, ...
// Same shape and type; differentiable.
at::Tensor rotate(const at::Tensor& heads, const RotaryTable& table, std::int64_t start);

}  // namespace normtweak::model
