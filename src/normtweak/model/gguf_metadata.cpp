#include "normtweak/model/gguf_metadata.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "normtweak/base/error.h"
#include "normtweak/model/config_keys.h"
#include "normtweak/model/hyperparameters.h"

namespace normtweak::model {
namespace {

// Facts of which this decoder supports one value only; absent means that value.
struct FixedFact {
  std::string_view key;
  double value;
};
constexpr std::array<FixedFact, 15> kFixedFacts = {{{"logit_scale", 1},
                                                    {"residual_scale", 1},
                                                    {"embedding_scale", 1},
                                                    {"attn_logit_softcapping", 0},
                                                    {"final_logit_softcapping", 0},
                                                    {"use_parallel_residual", 0},
                                                    {"expert_count", 0},
                                                    {"attention.clamp_kqv", 0},
                                                    {"attention.max_alibi_bias", 0},
                                                    {"attention.sliding_window", 0},
                                                    {"attention.causal", 1},
                                                    {"attention.output_scale", 1},
                                                    {"attention.temperature_scale", 0},
                                                    {"rope.scaling.attn_factor", 1},
                                                    {"rope.scaling.yarn_ext_factor", 1}}};

// Read elsewhere, or without effect on the passes of these families.
constexpr std::array<std::string_view, 24> kOtherKeys = {"attention.head_count",
                                                         "attention.head_count_kv",
                                                         "attention.key_length",
                                                         "attention.layer_norm_epsilon",
                                                         "attention.layer_norm_rms_epsilon",
                                                         "attention.scale",
                                                         "attention.value_length",
                                                         "block_count",
                                                         "context_length",
                                                         "embedding_length",
                                                         "expert_used_count",
                                                         "feed_forward_length",
                                                         "rope.dimension_count",
                                                         "rope.freq_base",
                                                         "rope.scale_linear",
                                                         "rope.scaling.factor",
                                                         "rope.scaling.finetuned",
                                                         "rope.scaling.original_context_length",
                                                         "rope.scaling.type",
                                                         "rope.scaling.yarn_beta_fast",
                                                         "rope.scaling.yarn_beta_slow",
                                                         "rope.scaling.yarn_log_multiplier",
                                                         "tensor_data_layout",
                                                         "vocab_size"};

// Whether the family reads the key itself.
bool is_read(const Family& family, std::string_view key) {
  const auto& known = family.gguf.known_keys;
  if (std::ranges::find(known, key) != known.end()) return true;
  return std::ranges::any_of(hyperparameters(family), [&](const auto& row) { return row.gguf == key; });
}

bool is_known(const Family& family, std::string_view key) {
  return is_read(family, key) || std::ranges::find(kOtherKeys, key) != kOtherKeys.end() ||
         std::ranges::find(kFixedFacts, key, &FixedFact::key) != kFixedFacts.end();
}

}  // namespace

const Json* GgufMetadata::find(std::string_view key) const {
  const auto& all = file_.metadata();
  const auto found = all.find(fmt::format("{}.{}", architecture_, key));
  if (found == all.end()) return nullptr;
  if (found->is_null()) {  // left in the file
    fail("{}: {} is a list of more than {} values, longer than any for the blocks of a model", file_.file_of({}),
         name(key), formats::kLongArray);
  }
  return &*found;
}

const Json& GgufMetadata::get_shared(std::string_view key) const {
  const auto* value = find(key);
  if (value == nullptr) fail("{}: {} is missing", file_.file_of({}), name(key));
  if (!value->is_array()) return *value;
  const auto differs = [value](const Json& entry) { return entry != value->front(); };
  if (!value->empty() && std::ranges::none_of(*value, differs)) return value->front();
  fail("{}: {} is {}; one number for all blocks is supported", file_.file_of({}), name(key), show(*value));
}

void check_metadata(const formats::GgufFile& file, Checkpoint& checkpoint) {
  const auto& family = *checkpoint.family;
  const auto origin = file.file_of({});
  const GgufMetadata metadata(file, family.gguf.architecture);
  const auto require = [&](std::string_view key, double expected) {
    const auto* found = metadata.find(key);
    if (found == nullptr) return;
    if (!found->is_boolean() && !found->is_number()) {
      fail("{}: {} is {}, a number is needed", origin, metadata.name(key), show(*found));
    }
    const double value = found->is_boolean() ? (found->get<bool>() ? 1 : 0) : found->get<double>();
    if (std::abs(value - expected) <= 1e-5 * std::abs(expected)) return;  // F32 in the file; false for NaN
    fail("{}: {} is {}, which is not supported; {:.6g} is, for this model", origin, metadata.name(key), show(*found),
         expected);
  };
  for (const auto& [key, value] : kFixedFacts) {
    if (!is_read(family, key)) require(key, value);
  }
  const auto& numbers = checkpoint.numbers;
  require("attention.value_length", static_cast<double>(numbers.head_size));
  require("attention.scale", numbers.attention_scale);
  if (!numbers.rotary.empty()) require("rope.dimension_count", static_cast<double>(numbers.rotary.front().size));

  const auto prefix = fmt::format("{}.", family.gguf.architecture);
  std::vector<std::string> unknown;
  for (const auto& [key, value] : file.metadata().items()) {
    if (key.starts_with(prefix) && !is_known(family, std::string_view(key).substr(prefix.size())))
      unknown.push_back(key);
  }
  if (!unknown.empty()) checkpoint.notes.push_back(fmt::format("{}: {}", origin, unknown_keys(unknown)));
}

}  // namespace normtweak::model
