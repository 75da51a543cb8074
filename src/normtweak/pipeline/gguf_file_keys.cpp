#include "normtweak/pipeline/gguf_file_keys.h"

#include <memory>
#include <optional>
#include <span>

#include "normtweak/base/error.h"
#include "normtweak/formats/gguf.h"
#include "normtweak/model/gguf_checkpoint.h"
#include "normtweak/model/gguf_keys.h"
#include "normtweak/model/gguf_tokenizer_keys.h"
#include "normtweak/pipeline/gguf_values.h"
#include "normtweak/pipeline/model_facts.h"

namespace normtweak::pipeline {
namespace {

using formats::GgufKeys;

constexpr std::uint32_t kQuantizationVersion = 2;  // of ggml's block types

// What every file of the original says, but for what describes its own types and parts.
GgufKeys keys_of_file(const std::string& path) {
  const formats::GgufFile file{std::filesystem::path(path)};
  GgufKeys keys;
  for (const auto& key : file.keys()) {
    if (!key.starts_with("split.")) keys.put_stored(key, file.stored_key(key));
  }
  return keys;
}

GgufKeys keys_of_folder(const model::Checkpoint& original) {
  GgufKeys keys;
  keys.put("general.architecture", original.family->gguf.architecture);
  keys.put("general.type", "model");
  keys.put("general.name", std::filesystem::path(original.path).lexically_normal().filename().string());
  model::add_hyperparameters(original, keys);
  return keys;
}

// Reads the metadata back: what the reader makes of them is what llama.cpp makes of them.
void check_faithful(const GgufKeys& keys, const std::vector<GgufTensor>& tensors, const model::Checkpoint& original) {
  std::vector<formats::GgufTensorToWrite> described;
  for (const auto& tensor : tensors) described.push_back({tensor.name, tensor.type, tensor.shape, {}});
  auto bytes = formats::gguf_header(keys, described);
  for (const auto& tensor : tensors) {
    if (!tensor.values.defined()) break;  // divisors of frequencies come first
    const auto data = stored_bytes(tensor.values, *tensor.type, tensor.name);
    bytes.append(reinterpret_cast<const char*>(data.data()), data.size());
    bytes.resize(formats::gguf_aligned(bytes.size(), keys.alignment()), '\0');
  }
  const auto file = std::make_shared<const formats::GgufFile>(
      formats::GgufFile::beginning(std::as_bytes(std::span(bytes)), original.path));
  const auto refuse = [&](std::string_view why) {
    fail("{}: a GGUF file cannot say what this model is: {}; --format hf writes weights for other programs",
         original.path, why);
  };
  std::optional<std::string> difference;
  try {
    const auto read = model::open_gguf_checkpoint(file);
    difference =
        first_difference(model_facts(*read.family, read.numbers), model_facts(*original.family, original.numbers));
  } catch (const Error& error) {
    refuse(error.what());
  }
  if (difference) refuse(*difference);
}

}  // namespace

GgufKeys gguf_file_keys(const model::Checkpoint& original, const std::vector<GgufTensor>& tensors,
                        std::uint32_t file_type) {
  const bool is_file = !std::filesystem::is_directory(original.path);
  auto keys = is_file ? keys_of_file(original.path) : keys_of_folder(original);
  keys.put("general.file_type", file_type);
  keys.put("general.quantization_version", kQuantizationVersion);
  check_faithful(keys, tensors, original);
  if (!is_file) model::add_tokenizer_keys(original, keys);
  return keys;
}

}  // namespace normtweak::pipeline
