#include "normtweak/tweak/student.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <utility>

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

void Student::learn_codes(const model::Decoder& floats, const CodeOptions& options) {
  codes_ = std::make_unique<CodePositions>(decoder_, floats, options);
}

bool Student::is_recordable() const {
  return decoder_.blocks.all_on_device() &&
         std::ranges::none_of(decoder_.config.layer_facts, &model::LayerFacts::experts);
}

model::Block Student::block(std::size_t index, bool frozen) const {
  auto block = with_values(*decoder_.blocks.get(static_cast<int>(index)), groups_, set_, first_[index], frozen);
  return codes_ != nullptr ? codes_->with_codes(std::move(block), frozen) : block;
}

model::Norm Student::final_norm(bool frozen) const {
  return with_values(decoder_.final_norm, groups_, set_, first_.back(), frozen);
}

at::Tensor Student::forward_block(int index, const at::Tensor& hidden) const {
  return forward(block(static_cast<std::size_t>(index)), hidden, block_context(decoder_));
}

at::Tensor Student::forward_block(int index, const at::Tensor& hidden, CodePositions::Leaves& leaves) const {
  if (codes_ == nullptr || !at::GradMode::is_enabled()) return forward_block(index, hidden);
  auto learning = codes_->dequantized(block(static_cast<std::size_t>(index)), leaves);
  return forward(learning, hidden, block_context(decoder_));
}

at::Tensor Student::divergence(const DistillationBatch& batch) const {
  const c10::NoGradGuard no_gradients;
  const auto run = [this](int index, const at::Tensor& input) { return forward_block(index, input); };
  const auto last = finish(decoder_, final_norm(), through_blocks(decoder_, batch.ids, {.run = run}));
  return head_loss({head_, last}, {batch.teacher_head, batch.teacher_hidden}, batch.mask, false, 1, decoder_.workspace)
      .divergence;
}

Student::Part Student::forward_part(const DistillationBatch& batch, double scale, bool keep_activations) {
  Part part;
  const auto run = [&](int index, const at::Tensor& hidden) {
    const at::AutoGradMode gradients_as_asked(keep_activations);
    part.inputs.push_back(hidden.detach().requires_grad_(index > 0));  // nothing before block 0 is tuned
    CodePositions::Leaves leaves;
    const auto output = forward_block(index, part.inputs.back(), leaves);
    part.leaves.push_back(std::move(leaves));
    if (keep_activations) part.outputs.push_back(output);
    return output;
  };
  const auto hidden = through_blocks(decoder_, batch.ids, {.run = run});

  const at::AutoGradMode with_gradients(true);
  const auto last_input = hidden.detach().requires_grad_();
  const auto last = finish(decoder_, final_norm(), last_input);
  const auto loss = head_loss({head_, last.detach()}, {batch.teacher_head, batch.teacher_hidden}, batch.mask, true,
                              scale, decoder_.workspace);
  torch::autograd::backward({last}, {loss.gradient});
  part.gradient = last_input.grad();
  part.divergence = loss.divergence;
  return part;
}

void Student::backward_part(int index, Part& part) {
  const at::AutoGradMode with_gradients(true);
  const auto at_block = static_cast<std::size_t>(index);
  auto& input = part.inputs[at_block];
  auto& leaves = part.leaves[at_block];
  const auto output =
      part.outputs.empty() ? forward_block(index, input, leaves) : std::exchange(part.outputs[at_block], {});
  if (!output.requires_grad()) return;  // block 0, if nothing in it is tuned
  torch::autograd::backward({output}, {part.gradient});
  part.gradient = input.grad();
  input = at::Tensor();
  if (codes_ != nullptr) codes_->collect(index, std::exchange(leaves, {}));
}

at::Tensor Student::backward(std::span<const DistillationBatch> batches, double scale, bool keep_activations,
                             const BlockDone& done) {
  std::vector<Part> parts;
  std::vector<at::Tensor> divergences = {at::empty({0}, at::TensorOptions(at::kDouble).device(decoder_.device))};
  for (const auto& batch : batches) {
    parts.push_back(forward_part(batch, scale, keep_activations));
    divergences.push_back(parts.back().divergence);
  }
  for (int index = decoder_.blocks.size() - 1; index >= 0; --index) {
    for (auto& part : parts) backward_part(index, part);
    if (done) done(index);
  }
  return at::cat(divergences);
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
