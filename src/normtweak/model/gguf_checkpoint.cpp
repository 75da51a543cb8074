#include "normtweak/model/gguf_checkpoint.h"

#include <algorithm>
#include <iterator>

#include "normtweak/base/error.h"
#include "normtweak/formats/gguf.h"
#include "normtweak/model/config_values.h"
#include "normtweak/model/gguf_metadata.h"
#include "normtweak/model/gguf_rotary.h"
#include "normtweak/model/gguf_tensors.h"
#include "normtweak/model/token_ids.h"
#include "normtweak/text/gguf_tokenizer.h"

namespace normtweak::model {
namespace {

// The config.json that a file's metadata stand for, and the metadata that its keys come from.
struct BuiltConfig {  // NOLINT(bugprone-exception-escape): nlohmann declares that its moves do not throw
  Json json;
  KeyNames names;

  void put(std::string_view key, const Json& value, const std::string& source = {}) {
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

void copy_rotary(const formats::GgufFile& file, const GgufMetadata& metadata, std::int64_t head_size,
                 BuiltConfig& config) {
  const auto* given_base = metadata.find("rope.freq_base");
  const Json base = given_base != nullptr ? *given_base : Json(10000);
  config.put("rope_theta", base, metadata.name("rope.freq_base"));
  const auto* given_kind = metadata.find("rope.scaling.type");
  const auto factor = linear_factor(metadata);
  const Json kind = given_kind != nullptr ? *given_kind : Json(factor.value == 1 ? "none" : "linear");
  const bool scales = kind != "none" && !(kind == "linear" && factor.value == 1);
  config.names["factor"] = metadata.name(factor.key);
  if (const std::string factors(kRotaryFactors); file.contains(factors)) {
    if (scales) {
      fail("{}: tensor {} beside {} scaling by {}: one is supported", file.file_of({}), factors, show(kind),
           show(factor.value));
    }
    config.names["factor"] = fmt::format("the largest number of tensor {}", factors);
    config.json["rope_scaling"] =
        rotary_scaling_from_factors(file.read(factors), base.get<double>(), head_size, file.file_of({}));
  } else if (scales) {
    config.json["rope_scaling"] = {{"rope_type", kind}, {"factor", factor.value}};
  }
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

BuiltConfig make_config(const formats::GgufFile& file, const Family& family) {
  const GgufMetadata metadata(file, family.gguf.architecture);
  const auto& keys = family.keys;
  const auto& tensors = family.gguf.names;
  BuiltConfig config;
  const auto put = [&](std::string_view key, const std::string& source) {
    config.put(key, metadata.get_shared(source), metadata.name(source));
  };
  config.put("architectures", Json::array({family.gguf.hugging_face_architecture}));
  config.put("model_type", family.gguf.model_type);
  put(keys.hidden, "embedding_length");
  put(keys.layers, "block_count");
  put(keys.heads, "attention.head_count");
  if (metadata.find("attention.head_count_kv") != nullptr) put(keys.key_value_heads, "attention.head_count_kv");
  put(keys.intermediate, "feed_forward_length");
  put(keys.context, "context_length");
  put(keys.norm_epsilon,
      family.gguf.norm == NormKind::rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon");
  config.put(keys.activation, tensors.gate.empty() ? "gelu_new" : "silu");
  const auto embedding = fmt::format("{}.weight", tensors.embedding);
  const auto rows = rows_of_matrix(file, embedding);
  check_vocabulary(metadata, embedding, rows, file.file_of({}));
  config.put("vocab_size", rows, fmt::format("the number of rows of tensor {}", embedding));
  config.put("tie_word_embeddings", !file.contains(fmt::format("{}.weight", tensors.head)));
  const auto has_bias = [&](std::string_view part) { return file.contains(fmt::format("blk.0.{}.bias", part)); };
  if (!family.attention_output_bias.key.empty()) {
    config.put(family.attention_output_bias.key, has_bias(tensors.attention_output));
  }
  if (!family.mlp_bias.key.empty()) config.put(family.mlp_bias.key, has_bias(tensors.down));
  if (family.position == Position::rotary) {
    if (metadata.find("attention.key_length") != nullptr) put(keys.head_size, "attention.key_length");
    // refuses invalid numbers
    const auto head_size = read_config(family, config.json, file.file_of({}), nullptr, config.names).head_size;
    config.put(
        keys.head_size, head_size,
        metadata.find("attention.key_length") != nullptr
            ? metadata.name("attention.key_length")
            : fmt::format("({} / {})", metadata.name("embedding_length"), metadata.name("attention.head_count")));
    copy_rotary(file, metadata, head_size, config);
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
  auto config = make_config(*file, *checkpoint.family);
  checkpoint.config = std::move(config.json);
  checkpoint.key_names = std::move(config.names);
  checkpoint.numbers =
      read_config(*checkpoint.family, checkpoint.config, path.string(), &checkpoint.notes, checkpoint.key_names);
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
