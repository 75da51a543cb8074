#include "normtweak/tweak/head_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linear.h>

#include <algorithm>

namespace normtweak::tweak {
namespace {

// F32 logits of so many bytes at a time: on a CPU about what its caches hold.
constexpr std::int64_t kChunkBytesCpu = std::int64_t{16} << 20, kChunkBytesGpu = std::int64_t{768} << 20;

std::int64_t chunk_tokens(const at::Tensor& head) {
  const auto bytes = head.is_cuda() ? kChunkBytesGpu : kChunkBytesCpu;
  return std::max<std::int64_t>(16, bytes / (4 * head.size(0)));
}

}  // namespace

HeadLoss head_loss(const at::Tensor& head, const at::Tensor& student, const at::Tensor& teacher, const at::Tensor& mask,
                   bool with_gradient, double scale) {
  const c10::NoGradGuard no_gradients;
  const auto rows = student.size(0), row_tokens = student.size(1), tokens = rows * row_tokens;
  const auto students = student.reshape({tokens, -1}), teachers = teacher.reshape({tokens, -1});
  auto divergence = at::empty({tokens}, students.options().dtype(at::kFloat));
  HeadLoss loss;
  if (with_gradient) loss.gradient = at::empty_like(students);
  const auto step = chunk_tokens(head);
  for (std::int64_t begin = 0; begin < tokens; begin += step) {
    const auto count = std::min(step, tokens - begin);
    const auto chunk = [&](const at::Tensor& all) { return all.narrow(0, begin, count); };
    const auto log_t = at::linear(chunk(teachers), head).log_softmax(-1, at::kFloat);
    auto log_s = at::linear(chunk(students), head).log_softmax(-1, at::kFloat);
    const auto p_t = log_t.exp();
    chunk(divergence).copy_(log_t.sub(log_s).mul_(p_t).sum(-1));
    if (!with_gradient) continue;
    auto difference = log_s.exp_().sub_(p_t);
    if (mask.defined()) difference.mul_(chunk(mask.flatten()).unsqueeze(1));
    chunk(loss.gradient).copy_(difference.mul_(scale).to(head.scalar_type()).matmul(head));
  }
  if (mask.defined()) divergence.mul_(mask.flatten());
  loss.divergence = divergence.view({rows, row_tokens}).sum(-1, false, at::kDouble);
  if (with_gradient) loss.gradient = loss.gradient.view(student.sizes());
  return loss;
}

}  // namespace normtweak::tweak
