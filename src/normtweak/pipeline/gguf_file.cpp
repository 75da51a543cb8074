#include "normtweak/pipeline/gguf_file.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "normtweak/base/error.h"
#include "normtweak/formats/gguf.h"
#include "normtweak/model/gguf_checkpoint.h"
#include "normtweak/model/gguf_keys.h"
#include "normtweak/model/gguf_rotary.h"
#include "normtweak/model/gguf_tokenizer_keys.h"
#include "normtweak/model/unread_tensors.h"
#include "normtweak/pipeline/gguf_values.h"
#include "normtweak/pipeline/model_facts.h"

namespace normtweak::pipeline {
namespace {

using formats::GgufKeys;

constexpr std::uint32_t kQuantizationVersion = 2;  // of ggml's block types

bool is_gguf(const model::Checkpoint& original) { return !std::filesystem::is_directory(original.path); }

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

// A tensor of the file that says what the config says, too.
bool is_idle(const model::Family& family, const std::string& name) {
  return std::ranges::any_of(family.idle_tensors, [&](std::string_view idle) { return name.ends_with(idle); });
}

const formats::GgmlType* type_in_plan(const PlannedLinear& linear, const formats::GgmlType& prescribed) {
  constexpr std::string_view kFloat = "F32";
  const auto named = [](std::string_view name) {
    return &*std::ranges::find(formats::ggml_types(), name, &formats::GgmlType::name);
  };
  if (linear.plan && !linear.plan->block_type.empty()) return named(linear.plan->block_type);
  return linear.plan || !prescribed.layout ? &prescribed : named(kFloat);
}

// In a file, the shape of a tensor that Hugging Face stores with this shape.
std::vector<std::int64_t> shape_in_file(std::vector<std::int64_t> shape, const model::GgufPlace& place) {
  if (place.transpose) std::swap(shape.front(), shape.back());
  return shape;
}

}  // namespace

GgufContents::GgufContents(const model::Checkpoint& original, const formats::GgufPreset& preset)
    : original_(original), preset_(preset) {
  check_has_gguf_architecture(original);
  list_tensors();
  choose_types();
  make_keys();
}

void GgufContents::list_tensors() {
  const auto& config = original_.numbers;
  if (!config.rotary.empty()) {
    for (const auto& [name, values] : model::rotary_factor_tensors(config.rotary.front())) {
      tensors_.push_back({.name = name, .shape = values.sizes().vec(), .parts = {}, .values = values});
    }
  }
  const auto head = fmt::format("{}.weight", original_.family->head.name);
  std::map<std::string, std::size_t> rows;  // of tensors of several parts
  std::set<std::string> written;
  for (auto& place : model::gguf_places(*original_.family, config)) {
    const auto stored = stored_name(original_, place.name);
    if (!original_.tensors->contains(stored) || (config.tied_head && place.name == head)) continue;
    written.insert(stored);
    auto shape = shape_in_file(original_.tensors->info(stored).shape, place);
    if (place.slice >= 0) shape.insert(shape.begin(), 0);
    const auto row = rows.try_emplace(place.gguf, tensors_.size()).first->second;
    if (row == tensors_.size()) tensors_.push_back({.name = place.gguf, .shape = shape, .parts = {}, .values = {}});
    if (place.slice >= 0) ++tensors_[row].shape.front();
    tensors_[row].parts.push_back(std::move(place));
  }
  for (const auto& [stored, name] : family_names(original_)) {
    const bool is_tied = config.tied_head && name == head;
    if (written.contains(stored) || is_tied || is_idle(*original_.family, name)) continue;
    fail("{}: has no place in a GGUF file of this family, and llama.cpp would do without it; --format hf writes it",
         described(*original_.tensors, stored));
  }
}

void GgufContents::choose_types() {
  const auto& config = original_.numbers;
  std::vector<formats::GgufTensorShape> shapes;
  for (const auto& tensor : tensors_) shapes.push_back({tensor.name, tensor.shape});
  const auto types = preset_types(preset_,
                                  {.architecture = std::string(original_.family->gguf.architecture),
                                   .layers = config.layers,
                                   .heads = config.heads,
                                   .key_value_heads = config.key_value_heads,
                                   .experts = config.experts},
                                  shapes);
  for (std::size_t i = 0; i < types.size(); ++i) tensors_[i].type = types[i];
}

void GgufContents::make_keys() {
  keys_ = is_gguf(original_) ? keys_of_file(original_.path) : keys_of_folder(original_);
  keys_.put("general.file_type", preset_.file_type);
  keys_.put("general.quantization_version", kQuantizationVersion);
  check_faithful();
  if (!is_gguf(original_)) model::add_tokenizer_keys(original_, keys_);
}

const formats::GgmlType* GgufContents::type_of(const std::string& name) const {
  for (const auto& tensor : tensors_) {
    if (std::ranges::find(tensor.parts, name, &model::GgufPlace::name) != tensor.parts.end()) return tensor.type;
  }
  return nullptr;
}

std::map<std::string, std::string, std::less<>> GgufContents::block_types() const {
  std::map<std::string, std::string, std::less<>> types;
  const auto is_quantized = [](const formats::GgmlType& type) { return type.layout.has_value(); };
  if (std::ranges::none_of(tensors_, is_quantized, [](const auto& tensor) -> auto& { return *tensor.type; }))
    return types;
  constexpr std::string_view kWeight = ".weight";
  for (const auto& tensor : tensors_) {
    for (const auto& part : tensor.parts) {
      if (!part.name.ends_with(kWeight)) continue;
      const auto module = part.name.substr(0, part.name.size() - kWeight.size());
      types[module] = is_quantized(*tensor.type) ? std::string(tensor.type->name) : std::string();
    }
  }
  return types;
}

void GgufContents::follow(const std::vector<PlannedLinear>& linears) {
  std::map<std::string, const PlannedLinear*> by_tensor;
  for (const auto& linear : linears) by_tensor[linear.shape.name + ".weight"] = &linear;
  for (auto& tensor : tensors_) {
    const auto* prescribed = std::exchange(tensor.type, nullptr);
    for (const auto& part : tensor.parts) {
      const auto found = by_tensor.find(part.name);
      const bool is_free = found == by_tensor.end() || model::stays_float(found->second->shape.role);
      const auto* type = is_free ? prescribed : type_in_plan(*found->second, *prescribed);
      if (tensor.type != nullptr && type != tensor.type) {
        fail("{}: is planned as {}, and {} as {}; they are one tensor of a GGUF file, {}", part.name, type->name,
             tensor.parts.front().name, tensor.type->name, tensor.name);
      }
      tensor.type = type;
    }
    if (tensor.parts.empty()) tensor.type = prescribed;
  }
}

// Reads the metadata back: what the reader makes of them is what llama.cpp makes of them.
void GgufContents::check_faithful() const {
  std::vector<formats::GgufTensorToWrite> described;
  for (const auto& tensor : tensors_) described.push_back({tensor.name, tensor.type, tensor.shape, {}});
  auto bytes = formats::gguf_header(keys_, described);
  for (const auto& tensor : tensors_) {
    if (!tensor.values.defined()) break;  // divisors of frequencies come first
    const auto data = stored_bytes(tensor.values, *tensor.type, tensor.name);
    bytes.append(reinterpret_cast<const char*>(data.data()), data.size());
    bytes.resize(formats::gguf_aligned(bytes.size(), keys_.alignment()), '\0');
  }
  const auto file = std::make_shared<const formats::GgufFile>(
      formats::GgufFile::beginning(std::as_bytes(std::span(bytes)), original_.path));
  const auto refuse = [&](std::string_view why) {
    fail("{}: a GGUF file cannot say what this model is: {}; --format hf writes weights for other programs",
         original_.path, why);
  };
  std::optional<std::string> difference;
  try {
    const auto read = model::open_gguf_checkpoint(file);
    difference =
        first_difference(model_facts(*read.family, read.numbers), model_facts(*original_.family, original_.numbers));
  } catch (const Error& error) {
    refuse(error.what());
  }
  if (difference) refuse(*difference);
}

model::Decoder GgufContents::as_stored_outside(model::Decoder decoder) const {
  const auto round = [&](at::Tensor& values, const std::string& module) {
    const auto* type = values.defined() ? type_of(module + ".weight") : nullptr;
    if (type != nullptr) values = as_read(values, *type, module);
  };
  const auto& family = *original_.family;
  const bool is_tied = original_.numbers.tied_head;
  round(decoder.embedding, std::string(family.embedding.name));
  round(decoder.positions, std::string(family.positions.name));
  if (auto* head = std::get_if<weights::FloatWeight>(&decoder.head.weight)) {
    if (is_tied) {
      head->values = decoder.embedding;
    } else {
      round(head->values, std::string(family.head.name));
    }
  }
  return decoder;
}

std::int64_t GgufContents::bytes() const {
  std::vector<formats::GgufTensorToWrite> all;
  for (const auto& tensor : tensors_) all.push_back({tensor.name, tensor.type, tensor.shape, {}});
  return static_cast<std::int64_t>(gguf_file_bytes(keys_, all));
}

void GgufContents::write(const model::Decoder& decoder, const std::filesystem::path& output) const {
  const GgufValues values(original_, decoder);
  std::vector<formats::GgufTensorToWrite> all;
  for (const auto& tensor : tensors_) {
    all.push_back({tensor.name, tensor.type, tensor.shape, [&values, &tensor](const formats::GgufSink& sink) {
                     if (tensor.values.defined()) return sink(stored_bytes(tensor.values, *tensor.type, tensor.name));
                     for (const auto& part : tensor.parts) values.write(part, *tensor.type, sink);
                   }});
  }
  write_gguf(output, keys_, all);
}

}  // namespace normtweak::pipeline
