// Head and loss, fused and computed for a chunk of tokens at a time, so that the full logits never exist.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <limits>

namespace normtweak::tweak {

struct HeadLoss {
  at::Tensor divergence;  // f64 [rows]: KL(teacher ‖ student) in nats, summed over each row's tokens
  at::Tensor gradient;    // like student: d(Σ divergence) / d student, times `scale`; undefined if not requested
};

// head: [vocabulary, hidden] in the compute dtype. student, teacher: [rows, tokens, hidden], the last hidden states
// after the final norm, in the compute dtype. mask: bool [rows, tokens], or undefined. Softmax and sums run in F32.
// workspace: bytes available for temporaries, which are a chunk's F32 logits and the tensors derived from them.
//     KL = Σ_v p_t (log p_t - log p_s),   d KL / d logits_s = p_s - p_t
HeadLoss head_loss(const at::Tensor& head, const at::Tensor& student, const at::Tensor& teacher, const at::Tensor& mask,
                   bool with_gradient, double scale, std::int64_t workspace = std::numeric_limits<std::int64_t>::max());

}  // namespace normtweak::tweak
