// The quantized model during tuning: its tunable floats, and one forward and backward pass through it.
//
// The backward pass goes block by block. A block's activations are kept if memory allows; otherwise only its input is
// kept, and the block is recomputed in the backward pass. Blocks are fetched one at a time, so that their store may
// keep them elsewhere.
#pragma once
#include <ATen/core/Tensor.h>

#include <set>
#include <vector>

#include "normtweak/model/decoder.h"
#include "normtweak/model/head.h"
#include "normtweak/tweak/tunables.h"

namespace normtweak::tweak {

struct DistillationBatch {
  at::Tensor ids;             // i64 [rows, tokens]
  at::Tensor mask;            // bool [rows, tokens], or undefined
  at::Tensor teacher_hidden;  // [rows, tokens, embedding]: the input of the float model's head
  model::Head teacher_head;
};

class Student {
 public:
  // decoder: the quantized model; its compute dtype is used. Throws Error if nothing in it is tunable.
  Student(const model::Decoder& decoder, const std::set<TunableGroup>& groups);

  // All tunables, block by block; those of the final norm come last.
  TunableSet& tunables() { return set_; }
  const TunableSet& tunables() const { return set_; }

  c10::Device device() const { return decoder_.device; }

  // Σ KL(teacher ‖ student) over the tokens of each row: f64 [rows]. No gradients.
  at::Tensor divergence(const DistillationBatch& batch) const;

  // Adds d(Σ KL) / d value, times `scale`, to the gradient of every tunable, and returns f64 [rows] as above.
  at::Tensor backward(const DistillationBatch& batch, double scale, bool keep_activations);

  // The model with the current values, rounded as a reader of the saved file sees them.
  model::Decoder decoder() const;

 private:
  model::Block block(std::size_t index, bool frozen = false) const;
  model::Norm final_norm(bool frozen = false) const;
  at::Tensor forward_block(int index, const at::Tensor& hidden) const;

  model::Decoder decoder_;
  std::set<TunableGroup> groups_;
  std::vector<std::size_t> first_;  // index of each block's first tunable, then that of the final norm
  TunableSet set_;
  model::Head head_;
};

}  // namespace normtweak::tweak
