#include "normtweak/tweak/head_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/sub.h>

#include <algorithm>

#include "normtweak/base/device/matrix_product.h"
#include "normtweak/model/activations.h"

namespace normtweak::tweak {
namespace {

// log softmax of the logits, f32 [tokens, vocabulary]. Near 20, bf16 logits have a step of 0.125, which would distort
// the divergence. If the device supports it, a bf16 product returns its F32 accumulator.
at::Tensor log_probabilities(const at::Tensor& hidden, const at::Tensor& head) {
  const bool short_product = hidden.is_cuda() && hidden.scalar_type() != at::kFloat;
  const auto logits = short_product ? at::mm(hidden, head.t(), at::kFloat) : matmul_transposed(hidden, head);
  return logits.log_softmax(-1, at::kFloat);
}

}  // namespace

HeadLoss head_loss(const HeadInput& student, const HeadInput& teacher, const at::Tensor& mask, bool with_gradient,
                   double scale, std::int64_t workspace) {
  const c10::NoGradGuard no_gradients;
  const auto& head = student.head;
  const auto rows = student.hidden.size(0), row_tokens = student.hidden.size(1), tokens = rows * row_tokens;
  const auto students = student.hidden.reshape({tokens, -1}), teachers = teacher.hidden.reshape({tokens, -1});
  auto divergence = at::empty({tokens}, students.options().dtype(at::kFloat));
  HeadLoss loss;
  if (with_gradient) loss.gradient = at::empty_like(students);
  const auto step = model::tokens_with_logits(head.size(0), head.device(), workspace);
  for (std::int64_t begin = 0; begin < tokens; begin += step) {
    const auto count = std::min(step, tokens - begin);
    const auto chunk = [&](const at::Tensor& all) { return all.narrow(0, begin, count); };
    auto log_t = log_probabilities(chunk(teachers), teacher.head);
    auto log_s = log_probabilities(chunk(students), head);
    const auto p_t = log_t.exp();
    chunk(divergence).copy_(log_t.sub_(log_s).mul_(p_t).sum(-1));
    if (!with_gradient) continue;
    auto difference = at::empty(log_s.sizes(), head.options());  // p_s - p_t, in the compute dtype
    at::sub_out(difference, log_s.exp_(), p_t);
    chunk(loss.gradient).copy_(matmul_transposed(difference, head.t()));
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
