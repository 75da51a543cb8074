#include "normtweak/model/hyperparameters.h"

#include <algorithm>
#include <array>

namespace normtweak::model {
namespace {

using Config = ModelConfig;

// Larger than any model; below this, no product of two or three sizes can overflow.
constexpr Range kSizes = {1, 1 << 24}, kLayers = {1, 1 << 11}, kContexts = {1, 2147483648.0};
constexpr Range kEpsilons = {1e-38, 1};  // the least is a normal number in F32

// `head_size` and `embedding`: 0 stands for what follows from other sizes.
const auto kCommon = std::to_array<Hyperparameter>({
    {&Config::hidden, "hidden_size", "embedding_length", {}, kSizes},
    {&Config::layers, "num_hidden_layers", "block_count", {}, kLayers},
    {&Config::heads, "num_attention_heads", "attention.head_count", {}, kSizes},
    {&Config::key_value_heads, "num_key_value_heads", "attention.head_count_kv", Fallback(1, &Config::heads), kSizes},
    {&Config::head_size, "head_dim", "attention.key_length", 0, kSizes},
    {&Config::intermediate, "intermediate_size", "feed_forward_length", {}, kSizes},
    {&Config::vocabulary, "vocab_size", "", {}, kSizes},
    {&Config::context, "max_position_embeddings", "context_length", {}, kContexts},
    {&Config::norm_epsilon, "rms_norm_eps", "attention.layer_norm_rms_epsilon", {}, kEpsilons},
    {&Config::tied_head, "tie_word_embeddings", "", 0},
    {&Config::embedding, "", "", 0, kSizes},
    {&Config::query_key_value_bias, "", "", 0},
    {&Config::attention_output_bias, "", "", 0},
    {&Config::mlp_bias, "", "", 0},
    {&Config::head_bias, "", "", 0},
    {&Config::norm_bias, "", "", 0},
    {&Config::query_key_norms, "", "", 0},
});

// The row with what another one changes. Where a family has a value for files that lack a key, null still stands for
// what follows from other sizes.
Hyperparameter merged(Hyperparameter row, const Hyperparameter& change) {
  if (change.key) row.key = change.key;
  if (change.gguf) row.gguf = change.gguf;
  if (change.supported) row.supported = change.supported;
  if (change.fallback) {
    row.if_null = change.if_null ? change.if_null : row.fallback;
    row.fallback = change.fallback;
  }
  return row;
}

}  // namespace

std::vector<Hyperparameter> hyperparameters(const Family& family) {
  std::vector<Hyperparameter> rows(kCommon.begin(), kCommon.end());
  for (const auto& own : family.numbers) {
    const auto common = std::ranges::find(rows, own.field, &Hyperparameter::field);
    if (common == rows.end()) {
      rows.push_back(own);
    } else {
      *common = merged(*common, own);
    }
  }
  return rows;
}

bool is_in_every_gguf(const Hyperparameter::Field& field) {
  const auto* const common = std::ranges::find(kCommon, field, &Hyperparameter::field);
  return common != kCommon.end() && !common->fallback && !common->gguf->empty();
}

std::string_view key_of(const Family& family, const Hyperparameter::Field& field) {
  for (const auto& row : hyperparameters(family)) {
    if (row.field == field) return row.key.value_or("");
  }
  return {};
}

}  // namespace normtweak::model
