// The decoder once more, in F64 and with nothing but LibTorch's plain operations: its values and, through LibTorch's
// autograd, its gradients are what the decoder's are held against.
#pragma once
#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "normtweak/model/decoder.h"

namespace normtweak::tests {

// f64 [out, in]; differentiable in the scales, zeros or codebook.
at::Tensor explicit_weight(const weights::Weight& weight);

struct ExplicitModel {
  model::Decoder decoder;                    // every float in f64
  std::map<std::string, at::Tensor> floats;  // what may be tuned, under the names of tunables; leaves

  // Takes a copy. Rotary scaling is left aside.
  explicit ExplicitModel(const model::Decoder& original);

  at::Tensor hidden(const at::Tensor& ids) const;  // after the final norm
  at::Tensor logits(const at::Tensor& ids) const;  // [samples, tokens, vocabulary]
};

// Σ_v p_t (log p_t - log p_s) → [samples, tokens]
at::Tensor explicit_divergence(const at::Tensor& teacher_logits, const at::Tensor& student_logits);

// max |found - expected| in units of max |expected|, or as it is where that is tiny.
double relative_error(const at::Tensor& found, const at::Tensor& expected);

}  // namespace normtweak::tests
