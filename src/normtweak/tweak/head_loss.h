// Head and loss, fused and computed for a chunk of tokens at a time, so that the full logits never exist.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <limits>

#include "normtweak/model/head.h"

namespace normtweak::tweak {

struct HeadLoss {
  at::Tensor divergence;  // f64 [rows]: KL(teacher ‖ student) in nats, summed over each row's tokens
  at::Tensor gradient;    // like the student's hidden states: d(Σ divergence) / d student, times `scale`; undefined if
                          // not requested
};

// What a model's logits are made of. Each model has its own head: another program may have packed or changed that of
// the quantized one. Where the two share a head, so do these tensors.
struct HeadInput {
  model::Head head;
  at::Tensor hidden;  // [rows, tokens, embedding] in the compute dtype: the head's input
};

// mask: bool [rows, tokens], or undefined. Softmax and sums run in F32. workspace: bytes available for temporaries,
// which are a chunk's F32 logits and the tensors derived from them.
//     KL = Σ_v p_t (log p_t - log p_s),   d KL / d logits_s = p_s - p_t
HeadLoss head_loss(const HeadInput& student, const HeadInput& teacher, const at::Tensor& mask, bool with_gradient,
                   double scale, std::int64_t workspace = std::numeric_limits<std::int64_t>::max());

}  // namespace normtweak::tweak
