#include "normtweak/model/config_keys.h"

#include <algorithm>
#include <array>

#include "normtweak/base/error.h"
#include "normtweak/base/strings/one_line.h"

namespace normtweak::model {
namespace {

using Use = KeyRule::Use;

// transformers' decoders attend to the whole row, but its caches drop what lies before a window.
bool window_covers_context(const Json& value, const Json& config, const ModelConfig& numbers) {
  const auto uses = config.find("use_sliding_window");
  if (value == false || (uses != config.end() && *uses == false)) return true;
  const auto tokens = whole_number(value);
  return tokens && (*tokens == 0 || *tokens >= numbers.context);
}

bool attends_fully(const Json& value, const Json& /*config*/, const ModelConfig& /*numbers*/) {
  return value.is_array() && std::ranges::all_of(value, [](const Json& kind) { return kind == "full_attention"; });
}

bool is_empty(const Json& value, const Json& /*config*/, const ModelConfig& /*numbers*/) {
  return (value.is_object() || value.is_array()) && value.empty();
}

// Read by other code, for any family.
constexpr std::array<std::string_view, 6> kReadKeys = {"architectures", "model_type",          "bos_token_id",
                                                       "eos_token_id",  "quantization_config", "compression_config"};

constexpr auto kRules = std::to_array<KeyRule>({
    {"is_causal", Use::only, "true", equals<true>},
    {"layer_types", Use::only, "a list of \"full_attention\"", attends_fully},
    {"sliding_window", Use::only, "null or at least the context", window_covers_context},
    {"attention_chunk_size", Use::only, "null or at least the context", window_covers_context},
    {"per_layer_config", Use::only, "empty", is_empty},
    {"pruned_heads", Use::expected, "{}", is_empty},
    {"use_sliding_window"},  // read with sliding_window
    // where the config comes from
    {"_commit_hash"},
    {"_name_or_path"},
    {"name_or_path"},
    {"auto_map"},
    {"transformers_version"},
    {"transformers.js_config"},
    {"unsloth_fixed"},
    {"unsloth_version"},
    // training
    {"attention_dropout"},
    {"attention_probs_dropout_prob"},
    {"gradient_checkpointing"},
    {"hidden_dropout"},
    {"hidden_dropout_prob"},
    {"initializer_range"},
    // how transformers runs, and what it returns
    {"_attn_implementation"},
    {"_attn_implementation_autoset"},
    {"_experts_implementation"},
    {"attn_implementation"},
    {"chunk_size_feed_forward"},
    {"experts_implementation"},
    {"output_attentions"},
    {"output_hidden_states"},
    {"return_dict"},
    {"tie_last_hidden_states"},
    {"torchscript"},
    {"use_bfloat16"},
    {"use_cache"},
    {"use_return_dict"},
    // encoders and decoders of two parts
    {"cross_attention_hidden_size"},
    {"decoder_start_token_id"},
    {"is_decoder"},
    {"is_encoder_decoder"},
    {"tie_encoder_decoder"},
    // heads for other tasks
    {"classifier_dropout"},
    {"finetuning_task"},
    {"id2label"},
    {"label2id"},
    {"num_labels"},
    {"problem_type"},
    {"task_specific_params"},
    {"tf_legacy_loss"},
    // text and its generation
    {"bad_words_ids"},
    {"begin_suppress_tokens"},
    {"diversity_penalty"},
    {"do_sample"},
    {"early_stopping"},
    {"encoder_no_repeat_ngram_size"},
    {"exponential_decay_length_penalty"},
    {"forced_bos_token_id"},
    {"forced_eos_token_id"},
    {"length_penalty"},
    {"max_length"},
    {"min_length"},
    {"no_repeat_ngram_size"},
    {"num_beam_groups"},
    {"num_beams"},
    {"num_return_sequences"},
    {"output_scores"},
    {"pad_token_id"},
    {"prefix"},
    {"remove_invalid_values"},
    {"repetition_penalty"},
    {"return_dict_in_generate"},
    {"sep_token_id"},
    {"suppress_tokens"},
    {"temperature"},
    {"tokenizer_class"},
    {"top_k"},
    {"top_p"},
    {"typical_p"},
});

void apply(const KeyRule& rule, const Json& value, const ConfigValues& values, const ModelConfig& numbers) {
  if (rule.use == Use::harmless || value.is_null() || rule.accepts(value, values.object(), numbers)) return;
  if (rule.use == Use::only) {
    fail("{}: `{}` is {}, which is not supported; {} is", values.origin(), rule.key, show(value), rule.wanted);
  }
  values.note(fmt::format("`{}` is {}, which has no effect here; {} is usual", rule.key, show(value), rule.wanted));
}

}  // namespace

void check_keys(const ConfigValues& values, const Family& family, const ModelConfig& numbers) {
  std::vector<std::string> unknown;
  for (const auto& [key, value] : values.object().items()) {
    if (values.was_read(key) || std::ranges::find(kReadKeys, key) != kReadKeys.end()) continue;
    const auto same_key = [&](const KeyRule& rule) { return rule.key == key; };
    if (const auto own = std::ranges::find_if(family.key_rules, same_key); own != family.key_rules.end()) {
      apply(*own, value, values, numbers);
    } else if (const auto* common = std::ranges::find_if(kRules, same_key); common != kRules.end()) {
      apply(*common, value, values, numbers);
    } else {
      unknown.push_back(key);
    }
  }
  if (!unknown.empty()) values.note(unknown_keys(unknown));
}

std::string unknown_keys(const std::vector<std::string>& keys) {
  constexpr std::size_t kMostNamed = 5, kLongestName = 24;
  std::string named;
  for (std::size_t i = 0; i < std::min(keys.size(), kMostNamed); ++i) {
    const auto quoted = show(keys[i]);  // with control characters escaped
    named += fmt::format("{}`{}`", i > 0 ? ", " : "",
                         without_middle(std::string_view(quoted).substr(1, quoted.size() - 2), kLongestName));
  }
  if (keys.size() > kMostNamed) named += fmt::format(" and {} more", keys.size() - kMostNamed);
  const bool one = keys.size() == 1;
  return fmt::format("{} {} not known to this program and {} no effect here", named, one ? "is" : "are",
                     one ? "has" : "have");
}

}  // namespace normtweak::model
