#include "normtweak/model/multimodal.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <utility>

#include "normtweak/base/error.h"
#include "normtweak/model/unread_tensors.h"

namespace normtweak::model {
namespace {

// Values of `tied_head` are the defaults of the config classes in transformers.
constexpr auto kModels = std::to_array<MultimodalModel>({
    {.name = "gemma3",
     .architecture = "Gemma3ForConditionalGeneration",
     .language_model = "gemma3_text",
     .tied_head = true},
    {.name = "idefics3", .architecture = "Idefics3ForConditionalGeneration", .language_model = "llama"},
    {.name = "llava", .architecture = "LlavaForConditionalGeneration", .language_model = "llama", .inner_ties = true},
    {.name = "llava_next", .architecture = "LlavaNextForConditionalGeneration", .language_model = "llama"},
    {.name = "mistral3",
     .architecture = "Mistral3ForConditionalGeneration",
     .language_model = "mistral",
     .tied_head = true},
    {.name = "qwen2_vl",
     .architecture = "Qwen2VLForConditionalGeneration",
     .language_model = "qwen2_vl_text",
     .inner_ties = true,
     .other_in_llama_cpp = true},
    {.name = "qwen2_5_vl",
     .architecture = "Qwen2_5_VLForConditionalGeneration",
     .language_model = "qwen2_5_vl_text",
     .inner_ties = true,
     .other_in_llama_cpp = true},
    {.name = "qwen3_vl",
     .architecture = "Qwen3VLForConditionalGeneration",
     .language_model = "qwen3_vl_text",
     .other_in_llama_cpp = true},
    {.name = "smolvlm", .architecture = "SmolVLMForConditionalGeneration", .language_model = "llama"},
});

// `model_type` of configs that differ from a family's by what concerns images alone.
using Alias = std::pair<std::string_view, std::string_view>;
constexpr auto kSameFamily = std::to_array<Alias>({
    {"qwen2_5_vl_text", "qwen2"},
    {"qwen2_vl_text", "qwen2"},
    {"qwen3_vl_text", "qwen3"},
});

// What a config class has for keys that files leave out: sizes, since transformers saves a config within another one
// without its defaults, and what the class has otherwise than that of the family.
struct Default {
  std::string_view type, key;
  double value;
};
constexpr std::string_view kBase = "rope_theta";
constexpr auto kDefaults = std::to_array<Default>({
    {"gemma3_text", "hidden_size", 2304},
    {"gemma3_text", "intermediate_size", 9216},
    {"gemma3_text", "num_hidden_layers", 26},
    {"gemma3_text", "num_attention_heads", 8},
    {"gemma3_text", "vocab_size", 262208},
    {"llama", "hidden_size", 4096},
    {"llama", "intermediate_size", 11008},
    {"llama", "num_hidden_layers", 32},
    {"llama", "num_attention_heads", 32},
    {"llama", "vocab_size", 32000},
    {"mistral", "hidden_size", 4096},
    {"mistral", "intermediate_size", 14336},
    {"mistral", "num_hidden_layers", 32},
    {"mistral", "num_attention_heads", 32},
    {"mistral", "vocab_size", 32000},
    {"qwen2", "hidden_size", 4096},
    {"qwen2", "intermediate_size", 22016},
    {"qwen2", "num_hidden_layers", 32},
    {"qwen2", "num_attention_heads", 32},
    {"qwen2", "num_key_value_heads", 32},
    {"qwen2", "vocab_size", 151936},
    {"qwen2_vl_text", "hidden_size", 8192},
    {"qwen2_vl_text", "intermediate_size", 29568},
    {"qwen2_vl_text", "num_hidden_layers", 80},
    {"qwen2_vl_text", "num_attention_heads", 64},
    {"qwen2_vl_text", "num_key_value_heads", 8},
    {"qwen2_vl_text", "vocab_size", 152064},
    {"qwen2_vl_text", kBase, 1000000},
    {"qwen2_vl_text", "rms_norm_eps", 1e-5},
    {"qwen2_5_vl_text", "hidden_size", 8192},
    {"qwen2_5_vl_text", "intermediate_size", 29568},
    {"qwen2_5_vl_text", "num_hidden_layers", 80},
    {"qwen2_5_vl_text", "num_attention_heads", 64},
    {"qwen2_5_vl_text", "num_key_value_heads", 8},
    {"qwen2_5_vl_text", "vocab_size", 152064},
    {"qwen2_5_vl_text", kBase, 1000000},
    {"qwen2_5_vl_text", "rms_norm_eps", 1e-5},
    {"qwen3_vl_text", "hidden_size", 4096},
    {"qwen3_vl_text", "intermediate_size", 22016},
    {"qwen3_vl_text", "num_hidden_layers", 32},
    {"qwen3_vl_text", "num_attention_heads", 32},
    {"qwen3_vl_text", "num_key_value_heads", 32},
    {"qwen3_vl_text", "head_dim", 128},
    {"qwen3_vl_text", "vocab_size", 151936},
    {"qwen3_vl_text", kBase, 500000},
});

// Also among the settings of rotary embeddings.
bool has_base(const Json& config) {
  return std::ranges::any_of(std::array{"rope_scaling", "rope_parameters"}, [&](const char* key) {
    const auto found = config.find(key);
    return found != config.end() && found->is_object() && found->contains(kBase);
  });
}

void add_defaults(std::string_view type, Json& config) {
  for (const auto& [of, key, value] : kDefaults) {
    if (type != of || config.contains(key) || (key == kBase && has_base(config))) continue;
    const auto whole = static_cast<std::int64_t>(value);
    config[std::string(key)] = static_cast<double>(whole) == value ? Json(whole) : Json(value);
  }
}

// The same tensors before version 4.52 of transformers and in files to this day, in its modules since, and as others
// call them. The first is that of a language model alone.
constexpr auto kPrefixes =
    std::to_array<std::string_view>({"model.", "language_model.model.", "model.language_model.", "model.text_model."});
constexpr auto kHeads = std::to_array<std::string_view>({"lm_head", "language_model.lm_head"});

// Those whose names have the prefix.
constexpr auto kParts =
    std::to_array<PartName Family::*>({&Family::embedding, &Family::positions, &Family::embedding_norm,
                                       &Family::project_in, &Family::project_out, &Family::final_norm, &Family::block});

// Positions in time, height and width are equal for text, which is then rotated as by any other rotary embedding.
void drop_sections(Json& config) {
  for (const auto* const key : {"rope_scaling", "rope_parameters"}) {
    const auto found = config.find(key);
    if (found == config.end() || !found->is_object()) continue;
    found->erase("mrope_section");
    found->erase("mrope_interleaved");
    for (const auto* const type : {"type", "rope_type"}) {
      if (const auto kind = found->find(type); kind != found->end() && *kind == "mrope") *kind = "default";
    }
    if (found->empty()) config.erase(key);
  }
}

bool concerns_images(const std::string& key) {
  constexpr auto kBeginnings = std::to_array<std::string_view>({"vision_", "image_", "video_"});
  return std::ranges::any_of(kBeginnings, [&](std::string_view beginning) { return key.starts_with(beginning); });
}

std::string_view without_beginning(std::string_view name, std::string_view beginning) {
  return name.starts_with(beginning) ? name.substr(beginning.size()) : name;
}

std::string type_of(const Json& language, const MultimodalModel& model, std::string_view origin) {
  const auto found = language.find("model_type");
  if (found == language.end() || found->is_null()) return std::string(model.language_model);
  if (found->is_string()) return found->get<std::string>();
  fail("{}: `model_type` of `text_config` is {}, a name is needed", origin, show(*found));
}

// "language_model", which may hold tensors that no pass reads.
bool is_language_model(const std::string& part) {
  return std::ranges::any_of(kPrefixes, [&](std::string_view prefix) {
    return without_beginning(prefix, kPrefixes.front()).starts_with(fmt::format("{}.", part));
  });
}

}  // namespace

std::span<const MultimodalModel> multimodal_models() { return kModels; }

const MultimodalModel* find_multimodal(const Json& config) {
  const auto list = config.find("architectures");
  const bool is_named = list != config.end() && list->is_array() && !list->empty() && list->front().is_string();
  const auto type = config.value("model_type", Json());
  const auto* const row = std::ranges::find_if(kModels, [&](const MultimodalModel& model) {
    return is_named ? list->front() == Json(model.architecture) : type == Json(model.name);
  });
  return row == kModels.end() ? nullptr : row;
}

Json language_config(const MultimodalModel& model, const Json& config, std::string_view origin) {
  const auto nested = config.find("text_config");
  const bool is_flat = nested == config.end() && config.contains("hidden_size");
  if (!is_flat && (nested == config.end() || !nested->is_object())) {
    fail("{}: `text_config` must be the config of the language model, found {}", origin,
         nested == config.end() ? "none" : show(*nested));
  }
  Json language = is_flat ? config : *nested;
  language.erase("architectures");  // of the language model before it became a part of this one
  std::vector<std::string> of_images;
  for (const auto& [key, value] : language.items()) {
    if (concerns_images(key)) of_images.push_back(key);
  }
  for (const auto& key : of_images) language.erase(key);
  const auto type = is_flat ? std::string(model.language_model) : type_of(language, model, origin);
  add_defaults(type, language);
  const auto* const same = std::ranges::find(kSameFamily, type, &Alias::first);
  language["model_type"] = same == kSameFamily.end() ? type : std::string(same->second);
  const bool inner_tied = language.value("tie_word_embeddings", Json()) == true;
  // Where a class does not ask the language model's config, that counts all the same if no other says anything: a head
  // that the file has as well is told later.
  auto& tied = language["tie_word_embeddings"];
  if (model.tied_head || !tied.is_boolean()) tied = model.tied_head;
  // What the whole model says holds for its parts; its dtype alone counts, in either spelling.
  if (!is_flat) {
    language.erase("dtype");
    language.erase("torch_dtype");
  }
  for (const auto* const key : {"dtype", "torch_dtype", "tie_word_embeddings", "bos_token_id", "eos_token_id",
                                "pad_token_id", "quantization_config", "compression_config"}) {
    if (const auto value = config.find(key); value != config.end() && !value->is_null()) language[key] = *value;
  }
  if (model.inner_ties && inner_tied) language["tie_word_embeddings"] = true;
  drop_sections(language);
  return language;
}

const Family& family_within(const Family& family, const formats::TensorSource& tensors, const std::string& path) {
  const auto inner = [&](std::string_view name) { return without_beginning(name, family.base_prefix); };
  const auto holds = [&](std::string_view beginning) {  // its codes have other endings than a float
    return std::ranges::any_of(tensors.names(), [&](const std::string& name) { return name.starts_with(beginning); });
  };
  const auto* const named =
      std::ranges::find_if(kHeads, [&](std::string_view head) { return holds(fmt::format("{}.", head)); });
  const auto embedding = fmt::format("{}.weight", inner(family.embedding.name));
  const auto* prefix = std::ranges::find_if(kPrefixes, [&](std::string_view candidate) {
    return tensors.contains(fmt::format("{}{}", candidate, embedding));
  });
  if (prefix == kPrefixes.end() && named != kHeads.end()) {  // tied, and stored as the head alone
    const auto final_norm = inner(family.final_norm.name);
    prefix = std::ranges::find_if(
        kPrefixes, [&](std::string_view candidate) { return holds(fmt::format("{}{}.", candidate, final_norm)); });
  }
  if (prefix == kPrefixes.end()) {
    fail("{}: has none of the tensors {}{}, the embedding of the language model", path,
         fmt::join(kPrefixes, fmt::format("{}, ", embedding)), embedding);
  }
  const auto head = named == kHeads.end() ? kHeads.front() : *named;

  static std::mutex mutex;
  static std::map<std::string, std::pair<std::array<std::string, kParts.size()>, Family>> known;
  const std::lock_guard lock(mutex);
  const auto [row, is_new] = known.try_emplace(fmt::format("{} {} {}", family.name, *prefix, head));
  auto& [names, within] = row->second;
  if (is_new) {
    within = family;
    within.base_prefix = *prefix;
    within.head.name = head;
    for (std::size_t i = 0; i < kParts.size(); ++i) {
      auto& name = (within.*kParts[i]).name;
      if (name.empty()) continue;
      names[i] = fmt::format("{}{}", *prefix, inner(name));
      name = names[i];
    }
  }
  return within;
}

formats::ModuleSpellings module_spellings(const Checkpoint& checkpoint) {
  if (checkpoint.outer_config.is_null()) return {};
  return {checkpoint.family->base_prefix, kPrefixes, kHeads};
}

std::string blocks_in_transformers(const Family& family) {
  const auto inner = without_beginning(family.block.name, family.base_prefix);
  const auto prefix = family.base_prefix == kPrefixes.back() ? kPrefixes.back() : kPrefixes[2];
  return fmt::format("{}{}", prefix, inner.substr(0, inner.find(".{}")));
}

std::vector<std::string> parts_beside(const Checkpoint& checkpoint) {
  if (checkpoint.outer_config.is_null()) return {};
  const auto own = family_names(checkpoint);
  std::vector<std::string> parts;
  for (const auto& stored : checkpoint.tensors->names()) {
    if (own.contains(stored)) continue;
    const auto name = without_beginning(stored, kPrefixes.front());
    std::string part(name.substr(0, name.find('.')));
    if (is_language_model(part) || std::ranges::find(parts, part) != parts.end()) continue;
    parts.push_back(std::move(part));
  }
  return parts;
}

}  // namespace normtweak::model
