// The head: logits from last hidden states, and the way back.
#pragma once
#include <ATen/core/Tensor.h>

#include "normtweak/model/decoder.h"

namespace normtweak::model {

// What a model's logits are made of, with the weight as products use it.
struct Head {
  at::Tensor weight = {};  // [vocabulary, embedding] in the compute dtype
  at::Tensor bias = {};    // f32 [vocabulary], or undefined
  double scale = 1;        // of the products
  double cap = 0;          // c: logits l become c tanh(l / c); 0: none
};

// The decoder's head; a copy of the weight only if it is packed.
Head head_of(const Decoder& decoder);

// hidden: [tokens, embedding] → [tokens, vocabulary] in F32 or the compute dtype. Near 20, bf16 logits have a step of
// 0.125: if the device supports it, a product of 16-bit tensors returns its F32 accumulator.
at::Tensor logits(const Head& head, const at::Tensor& hidden);

// gradient: of a loss by the logits, [tokens, vocabulary], which is overwritten → by the hidden states, [tokens,
// embedding] in the compute dtype. capped: the logits; only read if there is a cap.
at::Tensor hidden_gradient(const Head& head, const at::Tensor& capped, const at::Tensor& gradient);

// hidden: [..., embedding] → f32 [..., vocabulary], of products in the compute dtype.
at::Tensor logits(const Decoder& decoder, const at::Tensor& hidden);

}  // namespace normtweak::model
