#include "normtweak/model/gguf_checkpoint.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <iterator>

#include "normtweak/base/error.h"
#include "normtweak/formats/gguf.h"
#include "normtweak/model/config_values.h"
#include "normtweak/model/gguf_metadata.h"
#include "normtweak/model/gguf_places.h"
#include "normtweak/model/gguf_rotary.h"
#include "normtweak/model/gguf_tensors.h"
#include "normtweak/model/hyperparameters.h"
#include "normtweak/model/parts.h"
#include "normtweak/model/token_ids.h"
#include "normtweak/text/gguf_tokenizer.h"

namespace normtweak::model {
namespace {

// The config.json that a file's metadata stand for, and the metadata that its keys come from.
struct BuiltConfig {  // NOLINT(bugprone-exception-escape): nlohmann declares that its moves do not throw
  Json json;
  KeyNames names;

  // A key that the family lacks is empty, and left out.
  void put(std::string_view key, const Json& value, const std::string& source = {}) {
    if (key.empty()) return;
    json[std::string(key)] = value;
    if (!source.empty()) names[std::string(key)] = source;
  }
};

// A divisor of positions, under its key; the second one is older. 0 means 1, as in llama.cpp.
struct LinearFactor {
  std::string_view key = "rope.scaling.factor";
  Json value = 1;
};

LinearFactor linear_factor(const GgufMetadata& metadata) {
  for (const std::string_view key : {"rope.scaling.factor", "rope.scale_linear"}) {
    if (const auto* factor = metadata.find(key)) return {key, *factor == 0 ? Json(1) : *factor};
  }
  return {};
}

Json list_of(const formats::GgufFile& file, std::string_view name) {
  const auto tensor = file.read(std::string(name)).to(at::kDouble).flatten();
  Json list = Json::array();
  for (std::int64_t i = 0; i < tensor.numel(); ++i) list.push_back(tensor[i].item<double>());
  return list;
}

// The file has the share of the rotated channels as their number. Without it, llama.cpp rotates all of a head.
void copy_rotated_channels(const GgufMetadata& metadata, const RotaryFacts& facts, std::int64_t head_size,
                           BuiltConfig& config) {
  constexpr std::string_view kKey = "rope.dimension_count";
  const auto* given = metadata.find(kKey);
  const auto count = given == nullptr ? std::optional(head_size) : whole_number(*given);
  if (!count || *count > head_size) return;  // the check of the metadata refuses it
  if (!facts.size_key.empty()) config.put(facts.size_key, *count, metadata.name(kKey));
  if (facts.share_key.empty()) return;
  auto share = static_cast<double>(*count) / static_cast<double>(head_size);
  if (static_cast<std::int64_t>(share * static_cast<double>(head_size)) < *count) share = std::nextafter(share, 2.0);
  config.put(facts.share_key, share, metadata.name(kKey));
}

Json scaling_of(const GgufMetadata& metadata, const Json& kind, const Json& factor) {
  Json scaling = {{"rope_type", kind}, {"factor", factor}};
  const auto copy = [&](const char* key, std::string_view source) {
    if (const auto* value = metadata.find(source)) scaling[key] = *value;
  };
  if (kind != "yarn") return scaling;
  copy("original_max_position_embeddings", "rope.scaling.original_context_length");
  copy("beta_fast", "rope.scaling.yarn_beta_fast");
  copy("beta_slow", "rope.scaling.yarn_beta_slow");
  return scaling;
}

void copy_rotary(const formats::GgufFile& file, const GgufMetadata& metadata, const Family& family,
                 std::int64_t head_size, BuiltConfig& config) {
  const auto* given_base = metadata.find("rope.freq_base");
  const Json base = given_base != nullptr ? *given_base : Json(10000);
  config.put(family.rotary.base_key, base, metadata.name("rope.freq_base"));
  copy_rotated_channels(metadata, family.rotary, head_size, config);
  const auto* given_kind = metadata.find("rope.scaling.type");
  const auto factor = linear_factor(metadata);
  const Json kind = given_kind != nullptr ? *given_kind : Json(factor.value == 1 ? "none" : "linear");
  const bool scales = kind != "none" && !(kind == "linear" && factor.value == 1);
  config.names["factor"] = metadata.name(factor.key);
  const auto refuse_scaling_beside = [&](std::string_view tensor) {
    fail("{}: tensor {} beside {} scaling by {}: one is supported", file.file_of({}), tensor, show(kind),
         show(factor.value));
  };
  if (const std::string factors(kRotaryFactors); file.contains(factors)) {
    if (scales) refuse_scaling_beside(factors);
    config.names["factor"] = fmt::format("the largest number of tensor {}", factors);
    config.json["rope_scaling"] =
        rotary_scaling_from_factors(file.read(factors), base.get<double>(), head_size, file.file_of({}));
  } else if (file.contains(std::string(kLongFactors)) && file.contains(std::string(kShortFactors))) {
    if (kind == "longrope" ? factor.value != 1 : scales) refuse_scaling_beside(kLongFactors);
    config.json["rope_scaling"] = {{"rope_type", "longrope"},
                                   {"long_factor", list_of(file, kLongFactors)},
                                   {"short_factor", list_of(file, kShortFactors)}};
    // Absent keys mean no attention factor and the whole context to llama.cpp, and other things to transformers.
    const auto* attention = metadata.find("rope.scaling.attn_factor");
    config.json["rope_scaling"]["attention_factor"] = attention == nullptr ? Json(1) : *attention;
    const auto* original = metadata.find("rope.scaling.original_context_length");
    config.json["original_max_position_embeddings"] =
        original == nullptr ? metadata.get_shared("context_length") : *original;
  } else if (scales) {
    config.json["rope_scaling"] = scaling_of(metadata, kind, factor.value);
  }
}

// Where the family's `complete` gives windows settings of their own, those of the file are full attention's.
void nest_rotary(const Family& family, Json& config) {
  const auto settings = config.find("rope_parameters");
  if (settings == config.end()) return;
  auto& full = (*settings)["full_attention"];
  full.update(config.value("rope_scaling", Json::object()));
  const std::string base_key(family.rotary.base_key);
  full["rope_theta"] = config.at(base_key);
  config.erase(base_key);
  config.erase("rope_scaling");
}

std::int64_t rows_of_matrix(const formats::GgufFile& file, const std::string& name) {
  const auto shape = file.info(name).shape;
  if (shape.size() == 2) return shape.front();
  fail("{}: tensor {}: a matrix expected, the file has {}", file.file_of(name), name, c10::str(at::IntArrayRef(shape)));
}

// llama.cpp takes the vocabulary from its key, or from the tokenizer.
void check_vocabulary(const GgufMetadata& metadata, const std::string& embedding, std::int64_t rows,
                      const std::string& origin) {
  const auto* given = metadata.find("vocab_size");
  if (given == nullptr || *given == rows) return;
  fail("{}: {} is {}, but tensor {} has {} rows", origin, metadata.name("vocab_size"), show(*given), embedding, rows);
}

// GGUF does not record which linears have a bias, and whether heads have norms, but has the tensors.
void put_parts(const formats::GgufFile& file, const Family& family, BuiltConfig& config) {
  using Config = ModelConfig;
  const auto has_bias = [&](std::initializer_list<LinearRole> roles) {
    return std::ranges::any_of(family.linears, [&](const LinearRow& row) {
      const auto name = fmt::format("{}.{}.bias", numbered(family.block.gguf, 0), row.gguf);
      return std::ranges::find(roles, row.role) != roles.end() && file.contains(name);
    });
  };
  const auto put = [&](bool Config::*field, bool value) {
    if (const auto key = key_of(family, field); !key.empty()) config.put(key, value);
  };
  // Where two of them share a key, the last decides.
  put(&Config::query_key_value_bias, has_bias({LinearRole::query, LinearRole::query_key_value}));
  put(&Config::attention_output_bias, has_bias({LinearRole::attention_output}));
  put(&Config::mlp_bias, has_bias({LinearRole::down}));
  put(&Config::query_key_norms, std::ranges::any_of(family.norms, [&](const NormRow& row) {
    return row.role == NormRole::query &&
           file.contains(fmt::format("{}.{}.weight", numbered(family.block.gguf, 0), row.gguf));
  }));
}

// Sizes that follow from others, which not every reader of the config derives.
void put_derived(const GgufMetadata& metadata, const Family& family, const ModelConfig& numbers, BuiltConfig& config) {
  const auto put = [&](std::int64_t ModelConfig::*field, const std::string& source) {
    const auto key = key_of(family, field);
    if (!key.empty() && config.json.value(key, Json()).is_null()) config.put(key, numbers.*field, source);
  };
  const auto heads = metadata.name("attention.head_count");
  put(&ModelConfig::key_value_heads, heads);
  if (family.position == Position::rotary) {
    put(&ModelConfig::head_size, fmt::format("({} / {})", metadata.name("embedding_length"), heads));
  }
}

BuiltConfig make_config(const formats::GgufFile& file, const Family& family) {
  const GgufMetadata metadata(file, family.gguf.architecture);
  BuiltConfig config;
  config.put("architectures", Json::array({family.architectures.front()}));
  config.put("model_type", family.name);
  for (const auto& row : hyperparameters(family)) {
    const auto key = row.key.value_or(""), source = row.gguf.value_or("");
    if (key.empty() || source.empty()) continue;
    if (metadata.find(source) == nullptr && !is_in_every_gguf(row.field)) {
      if (row.if_null) config.put(key, nullptr);  // follows from other sizes, whatever the config class has
      continue;
    }
    config.put(key, metadata.get_shared(source), metadata.name(source));
  }
  if (!family.activation.key.empty()) {
    config.put(family.activation.key,
               family.gguf.activation.empty() ? family.activation.fallback : family.gguf.activation);
  }
  const auto embedding = fmt::format("{}.weight", family.embedding.gguf);
  const auto rows = rows_of_matrix(file, embedding);
  check_vocabulary(metadata, embedding, rows, file.file_of({}));
  config.put(key_of(family, &ModelConfig::vocabulary), rows, fmt::format("the number of rows of tensor {}", embedding));
  config.put(key_of(family, &ModelConfig::tied_head), !file.contains(fmt::format("{}.weight", family.head.gguf)));
  put_parts(file, family, config);
  if (family.gguf.complete != nullptr) family.gguf.complete(metadata, config.json);
  // refuses invalid numbers
  const auto numbers = read_config(family, config.json, file.file_of({}), nullptr, config.names);
  put_derived(metadata, family, numbers, config);
  if (family.position == Position::rotary) {
    copy_rotary(file, metadata, family, numbers.head_size, config);
    nest_rotary(family, config.json);
  }
  for (const auto* which : {"bos", "eos"}) {
    const auto key = fmt::format("tokenizer.ggml.{}_token_id", which);
    const auto found = file.metadata().find(key);
    if (found != file.metadata().end()) config.put(fmt::format("{}_token_id", which), *found, "metadata " + key);
  }
  config.put("dtype", "float32");  // blocks are dequantized to F32; norms are stored in F32
  return config;
}

// A model with an unsupported tokenizer still opens, for use with token ids.
void add_tokenizer_files(const formats::GgufFile& file, Checkpoint& checkpoint) {
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

void note_assumed_base(const formats::GgufFile& file, Checkpoint& checkpoint) {
  const GgufMetadata metadata(file, checkpoint.family->gguf.architecture);
  if (checkpoint.family->position != Position::rotary || metadata.find("rope.freq_base") != nullptr) return;
  checkpoint.notes.push_back(
      fmt::format("{}: {} is missing; 10000 is assumed, as in llama.cpp; if the model was "
                  "trained with another base, convert it again",
                  checkpoint.path, metadata.name("rope.freq_base")));
}

}  // namespace

Checkpoint open_gguf_checkpoint(const std::filesystem::path& path) {
  return open_gguf_checkpoint(std::make_shared<const formats::GgufFile>(path));
}

Checkpoint open_gguf_checkpoint(std::shared_ptr<const formats::GgufFile> file) {
  const auto path = file->file_of({});
  const auto& metadata = file->metadata();
  const auto architecture = metadata.find("general.architecture");
  if (architecture == metadata.end()) fail("{}: metadata general.architecture is missing", path);
  if (!architecture->is_string()) {
    fail("{}: metadata general.architecture is {}, a name is needed", path, show(*architecture));
  }
  Checkpoint checkpoint;
  checkpoint.path = path;
  const auto name = architecture->get<std::string>();
  checkpoint.family = &find_gguf_family(GgufMetadata(*file, name), path);
  auto config = make_config(*file, *checkpoint.family);
  checkpoint.config = std::move(config.json);
  checkpoint.key_names = std::move(config.names);
  checkpoint.numbers =
      read_config(*checkpoint.family, checkpoint.config, path, &checkpoint.notes, checkpoint.key_names);
  check_metadata(*file, checkpoint);
  note_assumed_base(*file, checkpoint);
  checkpoint.result_type = at::kHalf;  // F32 would be twice as large, for values that mostly come from F16 scales
  check_token_ids(checkpoint);
  checkpoint.tensors = gguf_tensors(file, *checkpoint.family, checkpoint.numbers);
  if (metadata.contains("tokenizer.ggml.tokens")) add_tokenizer_files(*file, checkpoint);
  add_tokenizer(checkpoint);
  return checkpoint;
}

}  // namespace normtweak::model
