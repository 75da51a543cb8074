// A model on disk: its family, hyperparameters, tensors under Hugging Face names, and the other files that a saved copy
// includes.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/base/json/json.h"
#include "normtweak/base/progress.h"
#include "normtweak/formats/linears/quantized_linears.h"
#include "normtweak/model/family.h"

namespace normtweak::text {
class Tokenizer;
struct LoadedTokenizer;
}  // namespace normtweak::text

namespace normtweak::model {

struct Checkpoint {
  std::string path;  // for messages
  const Family* family = nullptr;
  Json config;         // content of config.json; built from the metadata of a GGUF file
  Json outer_config;   // content of config.json of a multimodal model, of whose language model `config` is; else null
  KeyNames key_names;  // how messages call keys of `config`, if not by their own names
  ModelConfig numbers;
  // Linears are loaded with the codes that the file stores, and not dequantized; norms and biases know their dtypes in
  // the file.
  bool keeps_codes = false;
  // How a folder's linears are quantized, and the config that says so; null and `quantization` null: it is float.
  const formats::QuantizationFormat* format = nullptr;
  Json quantization;
  std::shared_ptr<const formats::QuantizedLinears> quantized;
  at::ScalarType result_type = at::kFloat;  // dtype of floats in what is made from it, unless --store-dtype is given
  std::shared_ptr<const formats::TensorSource> tensors;
  std::map<std::string, std::string> side_files;  // name → content: tokenizer.json, generation_config.json, ...
  std::string tokenizer_problem;  // why the source's tokenizer is not among them, if it has one; usually empty
  std::shared_ptr<const text::Tokenizer> tokenizer;  // null where tokenizer.json is not among them or cannot be used
  std::map<std::string, std::string> token_roles;    // its "bos_token" → "<s>", of those that its files name
  std::string tokenizer_refusal;                     // why it cannot
  std::vector<std::string> notes;  // what was assumed or not understood, one line each, with the file and the advice
};

// `model`: a directory in Hugging Face layout, a .gguf file, or the id of a hub model that is in the local cache.
// Throws Error saying what was expected.
Checkpoint open_checkpoint(const std::string& model);

// Makes `tensors` those of a quantized folder with this `quantization_config`, which stands in `origin`. Throws Error
// naming what is not supported.
void set_quantization(Checkpoint& checkpoint, Json config, const std::string& origin);

// The checkpoint as one that is changed in place, with `keeps_codes`. Readers of a GGUF file load its norms and biases
// in F32, whatever they are stored in. Throws Error if its files cannot be changed in place.
Checkpoint with_codes(Checkpoint checkpoint);

// Passes the checkpoint's notes on to the user.
void report_notes(const Checkpoint& checkpoint, ProgressSink& progress);

// Whether a file of this name is one of `side_files`.
bool is_side_file(std::string_view name);

// How messages call a key of the config: as the file has it.
std::string key_name(const Checkpoint& checkpoint, std::string_view key);

// Makes the tokenizer of the side files, and adds its notes. No error is thrown: work on token ids needs none.
void add_tokenizer(Checkpoint& checkpoint);

// The checkpoint's tokenizer; copies share what it holds. Throws Error if it has none or an unsupported one; `advice`
// is appended to the message: what to do instead.
text::Tokenizer load_tokenizer(const Checkpoint& checkpoint, std::string_view advice = "");

// The same made anew, with what it is made of. Throws Error if there is none, or if it is not supported.
text::LoadedTokenizer load_tokenizer_with_makings(const Checkpoint& checkpoint);

// The checkpoint's name for the tensor that its family calls `name`. Some checkpoints lack the family's prefix or have
// it twice, and some hold a tied embedding only under the head's name; transformers loads all of them. `name` itself if
// there is no such tensor.
std::string stored_name(const Checkpoint& checkpoint, const std::string& name);

// Whether it stores a head with the same values as the embedding.
bool head_copies_embedding(const Checkpoint& checkpoint);

// Whether the linears of a folder are stored quantized.
bool is_quantized(const Checkpoint& checkpoint);

}  // namespace normtweak::model
