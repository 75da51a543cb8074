// A family of decoders as tables of facts: the keys of its config.json, and the parts of its model with their names,
// each in one row. One generic decoder reads them; no code asks "is this GPT-2?".
//
// To add a family: write families/NAME.cpp and its row in families/families.cpp. See docs/add-a-family.md.
#pragma once
#include <array>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/base/json/json.h"
#include "normtweak/model/config.h"

namespace normtweak::model {

class ConfigValues;
class GgufArchitectureKeys;
class GgufMetadata;

struct Range {
  double least = 0, most = 0;
};

// A value, or a multiple of an earlier field.
struct Fallback {
  double value = 0;
  std::int64_t ModelConfig::*times = nullptr;

  Fallback(double of, std::int64_t ModelConfig::*field = nullptr) : value(of), times(field) {}  // NOLINT: implicit
};

// A number of the config: its field, its keys, and what it may be. In the row of a family, what is left out is as in
// the row of the same field that serves all families (model/hyperparameters.cpp).
struct Hyperparameter {
  using Field = std::variant<std::int64_t ModelConfig::*, double ModelConfig::*, bool ModelConfig::*>;

  Field field;
  std::optional<std::string_view> key = {};   // in config.json; empty: none, always the fallback
  std::optional<std::string_view> gguf = {};  // in GGUF, behind the architecture; empty: none
  std::optional<Fallback> fallback = {};      // if the file lacks it; none: it is required
  std::optional<Range> supported = {};        // of numbers
  std::optional<Fallback> if_null = {};       // if the file has the key with null; none: as if it lacked it
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

struct ActivationFact {
  std::string_view key = "hidden_act";  // empty: always the fallback
  std::string_view fallback = "silu";
};

// Rotary positions; how they are scaled, and their base, are read by the same keys in all families.
struct RotaryFacts {
  bool interleaved = false;
  double base = 10000;  // if the config has none
  std::string_view base_key = "rope_theta";
  double share = 1;                 // of a head that is rotated, if the config does not say
  std::string_view share_key = {};  // empty: always that share
  std::string_view size_key = {};   // gives the number of rotated channels instead
};

// Attention to the last tokens only.
struct WindowFacts {
  std::string_view key = {};  // of the window in tokens; empty: the family has none
  std::int64_t fallback = 0;  // if the config lacks the key; 0: no window
  // Whether a layer has a window, if no `layer_types` says so; null: all have.
  bool (*applies)(const ConfigValues& values, const ModelConfig& config, std::int64_t layer) = nullptr;
};

// A part's name in Hugging Face's checkpoints and in llama.cpp's GGUF files; empty where the family lacks it.
struct PartName {
  std::string_view name = {}, gguf = {};
};

enum class NormRole { attention, attention_output, mlp, mlp_output, query, key };
enum class LinearRole { query, key, value, query_key_value, attention_output, router, gate, up, gate_up, down };

// Whether a block has a part; null: always.
using Condition = bool (*)(const ModelConfig& config, const LayerFacts& layer);

// The parts of a block, one row each, in the order in which they are used. Names are relative to the block. "{}" in a
// name stands for a head (norms) or an expert (linears), each of which has the part. GGUF has the experts of a part in
// one tensor.
struct NormRow {
  NormRole role;
  std::string_view name, gguf = {};
  Condition when = nullptr;
  bool may_have_bias = true;  // false: none, though other norms of the model have one
};
struct LinearRow {
  LinearRole role;
  std::string_view name, gguf = {};
  Condition when = nullptr;
};

// What GGUF files have otherwise than Hugging Face's checkpoints. In all of them, norms are stored with `norm_shift`
// added, and the rows of query, key and value come one after the other.
struct GgufFacts {
  std::string_view architecture = {};  // `general.architecture`, also the prefix of its keys; empty: llama.cpp has none
  bool rotary_permuted = false;        // rows of query and key are stored with the two halves of each head interleaved
  bool (*owns)(const GgufMetadata& metadata) = nullptr;  // whether a file is this family's, where families share an
                                                         // architecture; null: if it is none of the others'
  std::string_view idle_tensor = {};                     // of a block, in some files; redundant with the metadata
  std::string_view activation = {};                      // for the config; GGUF does not record it
  std::vector<std::string_view> known_keys = {};         // without effect, besides those of all families
  // What llama.cpp holds fixed, or has under keys of its own: writes it to config.json. Null: nothing.
  void (*complete)(const GgufMetadata& metadata, Json& config) = nullptr;
  // The other way round: adds the keys that `complete` reads, and those that llama.cpp asks for. Null: nothing.
  void (*add_keys)(const ModelConfig& config, GgufArchitectureKeys& keys) = nullptr;
};

struct Family {
  std::string_view name;                        // config.json's `model_type`
  std::vector<std::string_view> architectures;  // config.json's `architectures`; the first is the usual one
  NormKind norm = NormKind::rms;
  double norm_shift = 0;  // added to the weights of norms: 1 where w stands for 1 + w
  Position position = Position::rotary;
  std::int64_t position_offset = 0;  // rows of the learned positions before that of the first token
  Topology topology = Topology::pre_norm;
  Layout linear_layout = Layout::out_in;  // of the blocks' linears; an untied head is out_in everywhere
  RowOrder query_key_value_order = RowOrder::parts;
  HeadNorm head_norm = HeadNorm::each;
  RotaryFacts rotary = {};
  WindowFacts window = {};
  ActivationFact activation = {};
  std::vector<Hyperparameter> numbers = {};
  std::vector<KeyAlias> aliases = {};   // of their keys
  std::vector<KeyRule> key_rules = {};  // besides those of all families (model/config_keys.cpp)
  // Sets what no row can say, after all rows were read. Null: nothing.
  void (*complete)(const ConfigValues& values, ModelConfig& config) = nullptr;
  std::string_view base_prefix = {};  // of every name but the head's; some checkpoints lack it or have it twice
  PartName embedding = {}, positions = {}, embedding_norm = {}, project_in = {}, project_out = {}, final_norm = {};
  PartName head = {};
  PartName block = {};  // with "{}" for its index
  std::vector<NormRow> norms = {};
  std::vector<LinearRow> linears = {};
  std::vector<std::string_view> idle_tensors = {};  // of a block, in some checkpoints; redundant with the config
  GgufFacts gguf = {};
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

// By GGUF's `general.architecture`, which the metadata are read for. Throws UnsupportedFamily.
const Family& find_gguf_family(const GgufMetadata& metadata, std::string_view origin);

// How messages call a key of the config, if not by its own name: those that were built from a GGUF file's metadata.
using KeyNames = std::map<std::string, std::string, std::less<>>;

// The hyperparameters in config.json. Throws Error naming `origin` and the key that is missing, has the wrong type, is
// out of its bounds, or asks for something unsupported. notes: gets a line for what was assumed, and for keys that have
// no effect though they look as if they should.
ModelConfig read_config(const Family& family, const Json& config, std::string_view origin,
                        std::vector<std::string>* notes = nullptr, const KeyNames& names = {});

}  // namespace normtweak::model
