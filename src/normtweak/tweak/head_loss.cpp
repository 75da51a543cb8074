#include "normtweak/tweak/head_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sub.h>

#include <algorithm>

#include "normtweak/model/activations.h"
#include "normtweak/tweak/head_loss_cpu.h"
#include "normtweak/tweak/head_loss_kernel.h"

namespace normtweak::tweak {
namespace {

// Writes the divergence of each token of a chunk, and p_s - p_t if `difference` is defined.
void loss_of_logits(const at::Tensor& teacher, const at::Tensor& student, at::Tensor divergence,
                    at::Tensor difference) {
  const auto type = difference.defined() ? difference.scalar_type() : at::kFloat;
  if (has_loss_kernel(teacher, student, type)) return loss_on_gpu(teacher, student, divergence, difference);
  if (has_loss_loop(teacher, student, type)) return loss_on_cpu(teacher, student, divergence, difference);
  auto log_t = teacher.log_softmax(-1, at::kFloat), log_s = student.log_softmax(-1, at::kFloat);
  const auto p_t = log_t.exp();
  divergence.copy_(log_t.sub_(log_s).mul_(p_t).sum(-1));
  if (difference.defined()) at::sub_out(difference, log_s.exp_(), p_t);
}

}  // namespace

HeadLoss head_loss(const HeadInput& student, const HeadInput& teacher, const at::Tensor& mask, bool with_gradient,
                   double scale, std::int64_t workspace) {
  const c10::NoGradGuard no_gradients;
  const auto& head = student.head;
  const auto rows = student.hidden.size(0), row_tokens = student.hidden.size(1), tokens = rows * row_tokens;
  const auto students = student.hidden.reshape({tokens, -1}), teachers = teacher.hidden.reshape({tokens, -1});
  auto divergence = at::empty({tokens}, students.options().dtype(at::kFloat));
  // In the compute dtype unless a factor follows.
  const bool plain = head.cap == 0 && head.scale == 1;
  const auto type = plain ? head.weight.scalar_type() : at::kFloat;
  HeadLoss loss;
  if (with_gradient) loss.gradient = at::empty_like(students);
  const auto step = model::tokens_with_logits(head.weight.size(0), students.device(), workspace);
  for (std::int64_t begin = 0; begin < tokens; begin += step) {
    const auto count = std::min(step, tokens - begin);
    const auto chunk = [&](const at::Tensor& all) { return all.narrow(0, begin, count); };
    const auto found = logits(head, chunk(students));
    const auto difference = with_gradient ? at::empty(found.sizes(), found.options().dtype(type)) : at::Tensor();
    loss_of_logits(logits(teacher.head, chunk(teachers)), found, chunk(divergence), difference);
    if (with_gradient) chunk(loss.gradient).copy_(hidden_gradient(head, found, difference));
  }
  if (with_gradient) {
    loss.gradient = loss.gradient.view(student.hidden.sizes()).mul_(scale);
    if (mask.defined()) loss.gradient.mul_(mask.unsqueeze(-1));
  }
  if (mask.defined()) divergence.mul_(mask.flatten());
  loss.divergence = divergence.view({rows, row_tokens}).sum(-1, false, at::kDouble);
  return loss;
}

}  // namespace normtweak::tweak
