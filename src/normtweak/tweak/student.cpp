#include "normtweak/tweak/student.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include "normtweak/base/error.h"
#include "normtweak/model/forward_pass.h"
#include "normtweak/tweak/head_loss.h"

namespace normtweak::tweak {
namespace {

// The tunable floats of all blocks and the final norm; writes the index of each part's first one to `first`.
std::vector<TunableField> fields_of(const model::Decoder& decoder, const std::set<TunableGroup>& groups,
                                    std::vector<std::size_t>& first) {
  std::vector<TunableField> fields;
  const auto add = [&](const auto& part) {
    first.push_back(fields.size());
    for (auto& field : tunable_fields(part, groups, decoder.config.stored_type)) fields.push_back(std::move(field));
  };
  for (int i = 0; i < decoder.blocks.size(); ++i) add(*decoder.blocks.get(i));
  add(decoder.final_norm);
  if (fields.empty()) fail("the model has nothing to tune of what --tune names");
  return fields;
}

}  // namespace

Student::Student(const model::Decoder& decoder, const std::set<TunableGroup>& groups)
    : decoder_(decoder), groups_(groups), set_(fields_of(decoder, groups, first_)), head_(head_of(decoder)) {}

model::Block Student::block(std::size_t index, bool frozen) const {
  return with_values(*decoder_.blocks.get(static_cast<int>(index)), groups_, set_, first_[index], frozen);
}

model::Norm Student::final_norm(bool frozen) const {
  return with_values(decoder_.final_norm, groups_, set_, first_.back(), frozen);
}

at::Tensor Student::forward_block(int index, const at::Tensor& hidden) const {
  return forward(block(static_cast<std::size_t>(index)), hidden, block_context(decoder_));
}

at::Tensor Student::divergence(const DistillationBatch& batch) const {
  const c10::NoGradGuard no_gradients;
  const auto run = [this](int index, const at::Tensor& input) { return forward_block(index, input); };
  const auto last = finish(decoder_, final_norm(), through_blocks(decoder_, batch.ids, {.run = run}));
  return head_loss({head_, last}, {batch.teacher_head, batch.teacher_hidden}, batch.mask, false, 1, decoder_.workspace)
      .divergence;
}

at::Tensor Student::backward(const DistillationBatch& batch, double scale, bool keep_activations) {
  const auto blocks = first_.size() - 1;
  std::vector<at::Tensor> inputs, outputs;  // one per block; outputs only if activations are kept
  const auto run = [&](int index, const at::Tensor& hidden) {
    const at::AutoGradMode gradients_as_asked(keep_activations);
    inputs.push_back(hidden.detach().requires_grad_(index > 0));  // nothing before block 0 is tuned
    const auto output = forward_block(index, inputs.back());
    if (keep_activations) outputs.push_back(output);
    return output;
  };
  const auto hidden = through_blocks(decoder_, batch.ids, {.run = run});

  const at::AutoGradMode with_gradients(true);
  const auto last_input = hidden.detach().requires_grad_();
  const auto last = finish(decoder_, final_norm(), last_input);
  const auto loss = head_loss({head_, last.detach()}, {batch.teacher_head, batch.teacher_hidden}, batch.mask, true,
                              scale, decoder_.workspace);
  torch::autograd::backward({last}, {loss.gradient});

  auto gradient = last_input.grad();
  for (std::size_t i = blocks; i-- > 0;) {
    const auto output =
        keep_activations ? std::exchange(outputs[i], {}) : forward_block(static_cast<int>(i), inputs[i]);
    if (!output.requires_grad()) continue;  // block 0, if nothing in it is tuned
    torch::autograd::backward({output}, {gradient});
    gradient = inputs[i].grad();
    inputs[i] = at::Tensor();
  }
  return loss.divergence;
}

model::Decoder Student::decoder() const {
  const c10::NoGradGuard no_gradients;
  auto finished = decoder_;
  finished.final_norm = final_norm(true);
  for (std::size_t i = 0; i + 1 < first_.size(); ++i) {
    finished.blocks.put(static_cast<int>(i), std::make_shared<const model::Block>(block(i, true)));
  }
  return finished;
}

}  // namespace normtweak::tweak
