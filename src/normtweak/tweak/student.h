// The quantized model during tuning: its tunable floats, its codes if they are learned, and one forward and backward
// pass through it.
//
// The backward pass goes block by block. A block's activations are kept if memory allows; otherwise only its input is
// kept, and the block is recomputed in the backward pass. Blocks are fetched one at a time, so that their store may
// keep them elsewhere.
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "normtweak/model/decoder.h"
#include "normtweak/model/head.h"
#include "normtweak/tweak/code_positions.h"
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

  // Its codes are learned as well, from those of `decoder` toward the weights of `floats`. Both must outlive this.
  void learn_codes(const model::Decoder& floats, const CodeOptions& options);

  // Null if codes are not learned.
  CodePositions* codes() { return codes_.get(); }
  const CodePositions* codes() const { return codes_.get(); }

  // All tunables, block by block; those of the final norm come last.
  TunableSet& tunables() { return set_; }
  const TunableSet& tunables() const { return set_; }

  c10::Device device() const { return decoder_.device; }

  // Whether passes over as many rows launch the same work, whatever the rows are.
  bool is_recordable() const;

  // Σ KL(teacher ‖ student) over the tokens of each row: f64 [rows]. No gradients.
  at::Tensor divergence(const DistillationBatch& batch) const;

  // Called in the backward pass when a block is done, whose codes may then change.
  using BlockDone = std::function<void(int block)>;

  // Adds d(Σ KL) / d value, times `scale`, to the gradient of every tunable, and returns f64 [rows] as above, of all
  // parts. These go through the backward pass together, block by block, so that `done` sees each block once.
  at::Tensor backward(std::span<const DistillationBatch> parts, double scale, bool keep_activations,
                      const BlockDone& done = {});
  at::Tensor backward(const DistillationBatch& batch, double scale, bool keep_activations) {
    return backward({&batch, 1}, scale, keep_activations);
  }

  // The model with the current values, rounded as a reader of the saved file sees them.
  model::Decoder decoder() const;

 private:
  model::Block block(std::size_t index, bool frozen = false) const;
  model::Norm final_norm(bool frozen = false) const;
  at::Tensor forward_block(int index, const at::Tensor& hidden) const;
  // With gradients, if they are enabled; `leaves` gets the learned weights.
  at::Tensor forward_block(int index, const at::Tensor& hidden, CodePositions::Leaves& leaves) const;

  // One part on its way through a backward pass.
  struct Part {
    std::vector<at::Tensor> inputs, outputs;    // one per block; outputs only if activations are kept
    std::vector<CodePositions::Leaves> leaves;  // in the outputs
    at::Tensor gradient;                        // with respect to the output of the block that comes next
    at::Tensor divergence;                      // f64 [rows]
  };
  Part forward_part(const DistillationBatch& batch, double scale, bool keep_activations);
  void backward_part(int index, Part& part);

  model::Decoder decoder_;
  std::set<TunableGroup> groups_;
  std::vector<std::size_t> first_;  // index of each block's first tunable, then that of the final norm
  TunableSet set_;
  model::Head head_;
  std::unique_ptr<CodePositions> codes_;
};

}  // namespace normtweak::tweak
