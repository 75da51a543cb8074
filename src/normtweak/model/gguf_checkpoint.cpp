#include "normtweak/model/gguf_checkpoint.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "normtweak/base/error.h"
#include "normtweak/formats/gguf.h"
#include "normtweak/model/gguf_rotary.h"
#include "normtweak/model/gguf_tensors.h"
#include "normtweak/text/gguf_tokenizer.h"

namespace normtweak::model {
namespace {

// Reads `{architecture}.{key}` of the metadata.
class Metadata {
 public:
  Metadata(const formats::GgufFile& file, std::string architecture)
      : file_(file), architecture_(std::move(architecture)) {}

  const Json* find(const std::string& key) const {
    const auto& all = file_.metadata();
    const auto found = all.find(fmt::format("{}.{}", architecture_, key));
    if (found == all.end()) return nullptr;
    if (found->is_null()) {  // left in the file
      fail("{}: metadata {}.{} is a list of more than {} values, longer than any for the blocks of a model",
           file_.file_of({}), architecture_, key, formats::kLongArray);
    }
    return &*found;
  }
  const Json& get(const std::string& key) const {
    if (const auto* value = find(key)) return *value;
    fail("{}: metadata {}.{} is missing", file_.file_of({}), architecture_, key);
  }
  // A number for the whole model; some converters write a list with an entry per block.
  const Json* find_shared(const std::string& key) const {
    const auto* value = find(key);
    if (value == nullptr || !value->is_array()) return value;
    const auto differs = [value](const Json& entry) { return entry != value->front(); };
    if (value->empty() || std::ranges::any_of(*value, differs)) {
      fail("{}: metadata {}.{} is {}; one number for all blocks is supported", file_.file_of({}), architecture_, key,
           show(*value));
    }
    return &value->front();
  }
  double number(const std::string& key, double otherwise) const {
    const auto* value = find(key);
    if (value == nullptr) return otherwise;
    if (value->is_boolean()) return value->get<bool>() ? 1 : 0;
    if (!value->is_number()) {
      fail("{}: metadata {}.{} is {}, a number is needed", file_.file_of({}), architecture_, key, show(*value));
    }
    return value->get<double>();
  }
  const Json& get_shared(const std::string& key) const {
    const auto* value = find_shared(key);
    return value != nullptr ? *value : get(key);
  }

 private:
  const formats::GgufFile& file_;
  std::string architecture_;
};

// The divisor of positions, which used to have another key. 0 means 1, as in llama.cpp.
double linear_factor(const Metadata& metadata) {
  for (const auto* key : {"rope.scaling.factor", "rope.scale_linear"}) {
    if (const auto factor = metadata.number(key, 0); metadata.find(key) != nullptr) return factor == 0 ? 1 : factor;
  }
  return 1;
}

void copy_rotary(const formats::GgufFile& file, const Metadata& metadata, std::int64_t head_size, Json& config) {
  const double base = metadata.number("rope.freq_base", 10000);
  config["rope_theta"] = base;
  const auto* given_kind = metadata.find("rope.scaling.type");
  const double factor = linear_factor(metadata);
  const Json kind = given_kind != nullptr ? *given_kind : Json(factor == 1 ? "none" : "linear");
  const bool scales = kind != "none" && !(kind == "linear" && factor == 1);
  if (const std::string factors(kRotaryFactors); file.contains(factors)) {
    if (scales)
      fail("{}: tensor {} beside {} scaling by {}: one is supported", file.file_of({}), factors, show(kind), factor);
    config["rope_scaling"] = rotary_scaling_from_factors(file.read(factors), base, head_size, file.file_of({}));
  } else if (scales) {
    config["rope_scaling"] = {{"rope_type", kind}, {"factor", factor}};
  }
}

// Facts of which this decoder supports one value only; absent means that value.
struct FixedFact {
  std::string_view key;
  double value;
};
constexpr std::array<FixedFact, 14> kFixedFacts = {{{"logit_scale", 1},
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
                                                    {"rope.scaling.attn_factor", 1}}};

// Metadata that changes the forward pass in an unsupported way must not be ignored.
void refuse_other_passes(const Metadata& metadata, const Family& family, const ModelConfig& config,
                         std::string_view origin) {
  const auto require = [&](std::string_view key, double expected) {
    const auto* found = metadata.find(std::string(key));
    if (found == nullptr) return;
    const double value = metadata.number(std::string(key), expected);
    if (std::abs(value - expected) <= 1e-5 * std::abs(expected)) return;  // F32 in the file; false for NaN
    fail("{}: metadata {}.{} is {}, which is not supported; {:.6g} is, for this model", origin,
         family.gguf.architecture, key, show(*found), expected);
  };
  for (const auto& [key, value] : kFixedFacts) require(key, value);
  const auto head_size = static_cast<double>(config.head_size);
  require("attention.value_length", head_size);
  require("attention.scale", 1 / std::sqrt(head_size));
  if (family.position == Position::rotary) require("rope.dimension_count", head_size);
}

std::int64_t rows_of_matrix(const formats::GgufFile& file, const std::string& name) {
  const auto shape = file.info(name).shape;
  if (shape.size() == 2) return shape.front();
  fail("{}: tensor {}: a matrix expected, the file has {}", file.file_of(name), name, c10::str(at::IntArrayRef(shape)));
}

// The rows of the embedding, which the metadata may repeat but not contradict.
std::int64_t vocabulary_size(const formats::GgufFile& file, const Metadata& metadata, const std::string& embedding) {
  const auto rows = rows_of_matrix(file, embedding);
  const auto* announced = metadata.find("vocab_size");
  if (announced != nullptr && *announced != rows) {
    fail("{}: metadata vocab_size is {}, but tensor {} has {} rows; the file is damaged", file.file_of(embedding),
         show(*announced), embedding, rows);
  }
  return rows;
}

Json make_config(const formats::GgufFile& file, const Family& family) {
  const Metadata metadata(file, std::string(family.gguf.architecture));
  const auto& keys = family.keys;
  const auto& tensors = family.gguf.names;
  const auto put = [](Json& object, std::string_view key, const Json& value) { object[std::string(key)] = value; };
  Json config;
  config["architectures"] = Json::array({family.gguf.hugging_face_architecture});
  config["model_type"] = family.gguf.model_type;
  put(config, keys.hidden, metadata.get("embedding_length"));
  put(config, keys.layers, metadata.get("block_count"));
  put(config, keys.heads, metadata.get_shared("attention.head_count"));
  if (const auto* heads = metadata.find_shared("attention.head_count_kv")) put(config, keys.key_value_heads, *heads);
  put(config, keys.intermediate, metadata.get_shared("feed_forward_length"));
  put(config, keys.context, metadata.get("context_length"));
  put(config, keys.norm_epsilon,
      metadata.get(family.gguf.norm == NormKind::rms ? "attention.layer_norm_rms_epsilon"
                                                     : "attention.layer_norm_epsilon"));
  put(config, keys.activation, tensors.gate.empty() ? "gelu_new" : "silu");
  config["vocab_size"] = vocabulary_size(file, metadata, fmt::format("{}.weight", tensors.embedding));
  config["tie_word_embeddings"] = !file.contains(fmt::format("{}.weight", tensors.head));
  const auto has_bias = [&](std::string_view part) { return file.contains(fmt::format("blk.0.{}.bias", part)); };
  if (!family.attention_output_bias.key.empty()) {
    put(config, family.attention_output_bias.key, has_bias(tensors.attention_output));
  }
  if (!family.mlp_bias.key.empty()) put(config, family.mlp_bias.key, has_bias(tensors.down));
  if (family.position == Position::rotary) {
    if (const auto* size = metadata.find("attention.key_length")) put(config, keys.head_size, *size);
    const auto head_size = read_config(family, config, file.file_of({})).head_size;  // refuses invalid numbers
    put(config, keys.head_size, head_size);
    copy_rotary(file, metadata, head_size, config);
  }
  for (const auto* which : {"bos", "eos"}) {
    const auto found = file.metadata().find(fmt::format("tokenizer.ggml.{}_token_id", which));
    if (found != file.metadata().end() && found->is_number_integer())
      config[fmt::format("{}_token_id", which)] = *found;
  }
  config["dtype"] = "float32";  // blocks are dequantized to F32; norms are stored in F32
  return config;
}

// read_config() names the keys of config.json; the user's file has others.
std::string in_metadata_keys(std::string message, const Family& family) {
  const auto& keys = family.keys;
  const bool is_rms = family.gguf.norm == NormKind::rms;
  const std::array<std::pair<std::string_view, std::string_view>, 10> spellings = {
      {{keys.hidden, "embedding_length"},
       {keys.layers, "block_count"},
       {keys.heads, "attention.head_count"},
       {keys.key_value_heads, "attention.head_count_kv"},
       {keys.intermediate, "feed_forward_length"},
       {keys.context, "context_length"},
       {keys.norm_epsilon, is_rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon"},
       {keys.head_size, "attention.key_length"},
       {"rope_theta", "rope.freq_base"},
       {"rope_scaling", "rope.scaling.type"}}};
  for (const auto& [ours, theirs] : spellings) {
    const auto spelled = fmt::format("`{}`", ours);
    const auto at = ours.empty() ? std::string::npos : message.find(spelled);
    if (at == std::string::npos) continue;
    message.replace(at, spelled.size(), fmt::format("metadata {}.{}", family.gguf.architecture, theirs));
  }
  return message;
}

// A model with an unsupported tokenizer still opens, for use with token ids.
void add_tokenizer(const formats::GgufFile& file, Checkpoint& checkpoint) {
  try {
    const auto metadata = file.metadata_with_arrays("tokenizer.ggml.");
    auto tokenizer = text::tokenizer_json_from_gguf(metadata, checkpoint.path).dump();
    auto config = text::tokenizer_config_from_gguf(metadata, checkpoint.path).dump(2);
    checkpoint.side_files["tokenizer.json"] = std::move(tokenizer);
    checkpoint.side_files["tokenizer_config.json"] = std::move(config);
    std::ranges::move(text::gguf_tokenizer_notes(metadata, checkpoint.path), std::back_inserter(checkpoint.notes));
  } catch (const Error& error) {
    checkpoint.tokenizer_problem = error.what();
  }
}

}  // namespace

Checkpoint open_gguf_checkpoint(const std::filesystem::path& path) {
  const auto file = std::make_shared<const formats::GgufFile>(path);
  const auto& metadata = file->metadata();
  const auto architecture = metadata.find("general.architecture");
  if (architecture == metadata.end()) fail("{}: metadata general.architecture is missing", path.string());
  if (!architecture->is_string()) {
    fail("{}: metadata general.architecture is {}, a name is needed", path.string(), show(*architecture));
  }
  Checkpoint checkpoint;
  checkpoint.path = path.string();
  checkpoint.family = &find_gguf_family(architecture->get<std::string>(), path.string());
  try {
    checkpoint.config = make_config(*file, *checkpoint.family);
    checkpoint.numbers = read_config(*checkpoint.family, checkpoint.config, path.string());
    refuse_other_passes(Metadata(*file, std::string(checkpoint.family->gguf.architecture)), *checkpoint.family,
                        checkpoint.numbers, path.string());
  } catch (const Error& error) {
    throw Error(in_metadata_keys(error.what(), *checkpoint.family));
  }
  const auto base = fmt::format("{}.rope.freq_base", checkpoint.family->gguf.architecture);
  if (checkpoint.family->position == Position::rotary && !metadata.contains(base)) {
    checkpoint.notes.push_back(
        fmt::format("{}: metadata {} is missing; 10000 is assumed, as in llama.cpp; if the model was trained with "
                    "another base, convert it again",
                    path.string(), base));
  }
  checkpoint.tensors = gguf_tensors(file, *checkpoint.family, checkpoint.numbers);
  if (metadata.contains("tokenizer.ggml.tokens")) add_tokenizer(*file, checkpoint);
  return checkpoint;
}

}  // namespace normtweak::model
