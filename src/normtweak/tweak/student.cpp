#include "normtweak/tweak/student.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include "normtweak/base/error.h"
#include "normtweak/tweak/head_loss.h"

namespace normtweak::tweak {

Student::Student(const model::Decoder& decoder, const std::set<TunableGroup>& groups)
    : decoder_(decoder),
      final_norm_(decoder.final_norm, groups, decoder.config.stored_type),
      head_(model::values(decoder.head.weight, decoder.type)) {
  for (int i = 0; i < decoder.blocks.size(); ++i) {
    blocks_.emplace_back(*decoder.blocks.get(i), groups, decoder.config.stored_type);
  }
  if (tunables().empty()) fail("the model has nothing to tune of what --tune names");
}

std::vector<Tunable*> Student::tunables() {
  std::vector<Tunable*> all;
  for (auto& block : blocks_) {
    for (auto& tunable : block.tunables()) all.push_back(&tunable);
  }
  for (auto& tunable : final_norm_.tunables()) all.push_back(&tunable);
  return all;
}

at::Tensor Student::forward_block(std::size_t index, const at::Tensor& hidden) const {
  return forward(blocks_[index].part(), hidden, block_context(decoder_));
}

at::Tensor Student::divergence(const DistillationBatch& batch) const {
  const c10::NoGradGuard no_gradients;
  auto hidden = embed(decoder_, batch.ids);
  for (std::size_t i = 0; i < blocks_.size(); ++i) hidden = forward_block(i, hidden);
  const auto last = forward(final_norm_.part(), hidden, decoder_.type);
  return head_loss(head_, last, batch.teacher_hidden, batch.mask, false, 1).divergence;
}

at::Tensor Student::backward(const DistillationBatch& batch, double scale, bool keep_activations) {
  std::vector<at::Tensor> inputs, outputs;  // of each block; outputs only where activations are kept
  auto hidden = embed(decoder_, batch.ids).detach();
  const at::AutoGradMode gradients_as_asked(keep_activations);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    inputs.push_back(hidden.detach().requires_grad_(i > 0));  // nothing before the first block is tuned
    hidden = forward_block(i, inputs.back());
    if (keep_activations) outputs.push_back(hidden);
  }

  const at::AutoGradMode with_gradients(true);
  const auto last_input = hidden.detach().requires_grad_();
  const auto last = forward(final_norm_.part(), last_input, decoder_.type);
  const auto loss = head_loss(head_, last.detach(), batch.teacher_hidden, batch.mask, true, scale);
  torch::autograd::backward({last}, {loss.gradient});

  auto gradient = last_input.grad();
  for (std::size_t i = blocks_.size(); i-- > 0;) {
    const auto output = keep_activations ? outputs[i] : forward_block(i, inputs[i]);
    if (!output.requires_grad()) continue;  // the first block, where nothing of it is tuned
    torch::autograd::backward({output}, {gradient});
    gradient = inputs[i].grad();
    inputs[i] = at::Tensor();
    if (keep_activations) outputs[i] = at::Tensor();
  }
  return loss.divergence;
}

model::Decoder Student::decoder() const {
  const c10::NoGradGuard no_gradients;
  auto finished = decoder_;
  finished.final_norm = final_norm_.part();
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    finished.blocks.put(static_cast<int>(i), std::make_shared<const model::Block>(blocks_[i].part()));
  }
  return finished;
}

}  // namespace normtweak::tweak
