// A family of decoders as a table of facts: the keys of its config.json, the names of its tensors, and the parts of its
// blocks. One generic decoder reads it; no code asks "is this GPT-2?".
//
// To add a family: write families/NAME.cpp and its row in families/families.cpp. See docs/add-a-family.md.
#pragma once
#include <array>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/base/json/json.h"
#include "normtweak/model/config.h"

namespace normtweak::model {

// A key of config.json and the value if it is absent. An empty key: always the fallback.
struct BiasFact {
  std::string_view key = {};
  bool fallback = false;
};

// A key that transformers' config class takes for another one (`attribute_map`). If a file has both, the alias counts.
struct KeyAlias {
  std::string_view alias, of;
};

// What a key of config.json does here that is read nowhere else.
struct KeyRule {
  enum class Use {
    harmless,  // has no effect on the passes, whatever its value
    expected,  // likewise in transformers; but another value suggests a model that is computed otherwise: noted
    only,      // another value would change the passes: refused
  };
  std::string_view key;
  Use use = Use::harmless;
  std::string_view wanted = {};  // the accepted values in words, for messages; null and an absent key always are
  bool (*accepts)(const Json& value, const Json& config, const ModelConfig& numbers) = nullptr;
};

template <auto wanted>
bool equals(const Json& value, const Json& /*config*/, const ModelConfig& /*numbers*/) {
  return value == Json(wanted);
}

struct ConfigKeys {
  std::string_view hidden = "hidden_size", layers = "num_hidden_layers", heads = "num_attention_heads";
  std::string_view key_value_heads = "num_key_value_heads";  // absent: as many as heads
  std::string_view head_size = "head_dim";                   // absent: hidden / heads
  std::string_view intermediate = "intermediate_size";       // absent: see ConfigFallbacks
  std::string_view context = "max_position_embeddings", norm_epsilon = "rms_norm_eps", activation = "hidden_act";
};

// Hugging Face's names. "{}" in `block` stands for the block's index; the names below it are relative to it.
// A part that a family lacks is left empty. `query_key_value` lists one fused linear, or three.
struct TensorNames {
  std::string_view embedding, positions, final_norm, head;
  std::string_view block, attention_norm, mlp_norm;
  std::vector<std::string_view> query_key_value;
  std::string_view attention_output, gate, up, down;
};

// llama.cpp's names for the same parts, in GGUF files. rotary_permuted: rows of query and key are stored with the two
// halves of each head interleaved.
struct GgufFacts {
  std::string_view architecture;  // `general.architecture`, also the prefix of its keys
  TensorNames names;
  bool rotary_permuted = false;
  std::string_view idle_tensor = {};  // of a block, in some files; redundant with the metadata
  NormKind norm = NormKind::rms;
  std::string_view hugging_face_architecture, model_type;
};

// Defaults of the family's config class in transformers, for keys that config.json lacks.
struct ConfigFallbacks {
  std::int64_t context = 0;
  std::int64_t intermediate = 0;  // times the hidden size; 0: the key is required
  double norm_epsilon = 0;
  std::string_view activation;
};

struct Family {
  std::string_view name;
  std::vector<std::string_view> architectures;  // config.json's `architectures`
  NormKind norm = NormKind::rms;
  Position position = Position::rotary;
  Layout linear_layout = Layout::out_in;  // of the blocks' linears; an untied head is out_in everywhere
  BiasFact query_key_value_bias, attention_output_bias, mlp_bias;
  bool tied_head_fallback = false;  // if config.json lacks tie_word_embeddings
  ConfigFallbacks fallbacks;
  std::string_view base_prefix = {};  // of every name but the head's; some checkpoints lack it or have it twice
  ConfigKeys keys = {};
  std::vector<KeyAlias> aliases = {};   // of `keys`
  std::vector<KeyRule> key_rules = {};  // besides those of all families (model/config_keys.cpp)
  TensorNames names;
  std::array<std::string_view, 2> idle_tensors = {};  // of a block, in some checkpoints; redundant with the config
  GgufFacts gguf;
};

// All families, in alphabetical order.
std::span<const Family* const> families();

// The model is none of the families; its file may be sound. `file`: config.json or the GGUF file that says so.
class UnsupportedFamily : public Error {
 public:
  UnsupportedFamily(std::string_view file, std::string_view found, std::string_view supported);
  const std::string& file() const { return file_; }
  const std::string& problem() const { return problem_; }  // the message without advice

 private:
  std::string file_, problem_;
};

// By config.json's `architectures`, or its `model_type` if there are none. Throws UnsupportedFamily.
const Family& find_family(const Json& config, std::string_view origin);

// By GGUF's `general.architecture`. Throws UnsupportedFamily.
const Family& find_gguf_family(std::string_view architecture, std::string_view origin);

// How messages call a key of the config, if not by its own name: those that were built from a GGUF file's metadata.
using KeyNames = std::map<std::string, std::string, std::less<>>;

// The hyperparameters in config.json. Throws Error naming `origin` and the key that is missing, has the wrong type, is
// out of its bounds, or asks for something unsupported. notes: gets a line for what was assumed, and for keys that have
// no effect though they look as if they should.
ModelConfig read_config(const Family& family, const Json& config, std::string_view origin,
                        std::vector<std::string>* notes = nullptr, const KeyNames& names = {});

}  // namespace normtweak::model
