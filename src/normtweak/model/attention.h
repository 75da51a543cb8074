// Causal attention: softmax(s q kᵀ) v, with the variants of the families: shared key-value heads, windows, ALiBi (arXiv
// 2108.12409), and capped scores (Gemma 2, arXiv 2408.00118).
#pragma once
#include <ATen/core/Tensor.h>

#include <map>
#include <tuple>
#include <vector>

#include "normtweak/model/config.h"
#include "normtweak/model/rotary.h"

namespace normtweak::model {

// Masks of rows of several tokens, kept from block to block. Not thread-safe.
class AttentionMasks {
 public:
  // bool [tokens, tokens]: which tokens the token of each row attends to; with ALiBi, `type` [heads, tokens, tokens]:
  // what is added to the scores. Undefined if plain causal attention says it all. window: see LayerFacts.
  const at::Tensor& of_row(std::int64_t tokens, std::int64_t window, const ModelConfig& config,
                           const at::TensorOptions& type) const;

 private:
  mutable std::map<std::tuple<std::int64_t, std::int64_t, at::ScalarType>, at::Tensor> masks_;  // of one length
};

// What passes look up, shared by all blocks of a decoder.
struct AttentionTables {
  std::vector<GrowingRotaryTable> rotary;  // one for each of the config's rotary settings
  AttentionMasks masks;
};

// ALiBi's slope of each head, f32 [heads].
at::Tensor alibi_slopes(const ModelConfig& config);

// query: [samples, heads, tokens, head_size]; key, value: [samples, key_value_heads, earlier and new tokens,
// head_size]. With earlier tokens, there is one new one. → [samples, tokens, heads * head_size].
at::Tensor attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, const ModelConfig& config,
                  const LayerFacts& layer, const AttentionMasks& masks);

}  // namespace normtweak::model
