// Rotary position embedding (arXiv 2104.09864). The channels of a head are paired as in Hugging Face checkpoints: each
// with that half of the rotated ones further, or with its neighbour. Channels beyond the rotated ones stay.
#pragma once
#include <ATen/core/Tensor.h>

#include "normtweak/model/config.h"

namespace normtweak::model {

// Radians per position of each pair of channels, f32 [rotated channels / 2], in a sequence of `length` tokens.
at::Tensor rotary_frequencies(const Rotary& rotary, std::int64_t length);

struct RotaryTable {
  at::Tensor cosine, sine;  // f32 [positions, rotated channels / 2]
  bool interleaved = false;
};

// The table of the positions 0 to `positions` - 1 in a sequence of `length` tokens, on which some scalings depend.
RotaryTable make_rotary_table(const Rotary& rotary, std::int64_t length, std::int64_t positions, c10::Device device);

// A model's table, grown to the length that passes need, since the config's context may be millions of tokens or wrong.
// Not thread-safe.
class GrowingRotaryTable {
 public:
  GrowingRotaryTable(Rotary rotary, c10::Device device) : rotary_(std::move(rotary)), device_(device) {}

  // Holds at least the positions of a sequence of `length` tokens.
  const RotaryTable& for_length(std::int64_t length) const;

  // Sequences of these two lengths rotate the same positions alike, so that keys cached in one serve in the other.
  bool are_alike(std::int64_t length, std::int64_t other) const;

 private:
  // Of the lengths that share frequencies, the one that stands for them.
  std::int64_t standing_for(std::int64_t length) const;

  Rotary rotary_;
  c10::Device device_;
  mutable std::int64_t length_ = 0;  // that the table's frequencies stand for
  mutable RotaryTable table_;
};

// heads: [samples, tokens, heads, head_size]; the tokens are at positions start, start + 1, ...
// Same shape and type; differentiable.
at::Tensor rotate(const at::Tensor& heads, const RotaryTable& table, std::int64_t start);

}  // namespace normtweak::model
