// Rotary position embedding (arXiv 2104.09864), with the halves of a head paired as in Hugging Face checkpoints.
#pragma once
#include <ATen/core/Tensor.h>

#include "normtweak/model/config.h"

namespace normtweak::model {

struct RotaryTable {
  at::Tensor cosine, sine;  // f32 [positions, head_size / 2]
};

// Default, linear and llama3 scaling. positions: number of positions in the table.
RotaryTable make_rotary_table(const ModelConfig& config, std::int64_t positions, c10::Device device);

// A model's table, grown to the length that passes need, since the config's context may be millions of tokens or wrong.
// Not thread-safe.
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

// heads: [samples, tokens, heads, head_size]; the tokens are at positions start, start + 1, ...
// Same shape and type; differentiable.
at::Tensor rotate(const at::Tensor& heads, const RotaryTable& table, std::int64_t start);

}  // namespace normtweak::model
