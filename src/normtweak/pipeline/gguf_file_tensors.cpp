#include "normtweak/pipeline/gguf_file_tensors.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "normtweak/base/error.h"
#include "normtweak/model/gguf_rotary.h"
#include "normtweak/model/unread_tensors.h"

namespace normtweak::pipeline {
namespace {

// A tensor of the file that says what the config says, too.
bool is_idle(const model::Family& family, const std::string& name) {
  return std::ranges::any_of(family.idle_tensors, [&](std::string_view idle) { return name.ends_with(idle); });
}

// In a file, the shape of a tensor that Hugging Face stores with this shape.
std::vector<std::int64_t> shape_in_file(std::vector<std::int64_t> shape, const model::GgufPlace& place) {
  if (place.transpose) std::swap(shape.front(), shape.back());
  return shape;
}

}  // namespace

std::vector<GgufTensor> gguf_file_tensors(const model::Checkpoint& original) {
  const auto& config = original.numbers;
  std::vector<GgufTensor> tensors;
  if (!config.rotary.empty()) {
    for (const auto& [name, values] : model::rotary_factor_tensors(config.rotary.front())) {
      tensors.push_back({.name = name, .shape = values.sizes().vec(), .parts = {}, .values = values});
    }
  }
  const auto head = fmt::format("{}.weight", original.family->head.name);
  std::map<std::string, std::size_t> rows;  // of tensors of several parts
  std::set<std::string> written;
  for (auto& place : model::gguf_places(*original.family, config)) {
    const auto stored = stored_name(original, place.name);
    if (!original.tensors->contains(stored) || (config.tied_head && place.name == head)) continue;
    written.insert(stored);
    if (original.tensors->outline(stored)) place.transpose = false;  // weights with codes are [out, in]
    auto shape = shape_in_file(original.tensors->info(stored).shape, place);
    if (place.slice >= 0) shape.insert(shape.begin(), 0);
    const auto row = rows.try_emplace(place.gguf, tensors.size()).first->second;
    if (row == tensors.size()) tensors.push_back({.name = place.gguf, .shape = shape, .parts = {}, .values = {}});
    if (place.slice >= 0) ++tensors[row].shape.front();
    tensors[row].parts.push_back(std::move(place));
  }
  for (const auto& [stored, name] : family_names(original)) {
    const bool is_tied = config.tied_head && name == head;
    if (written.contains(stored) || is_tied || is_idle(*original.family, name)) continue;
    fail("{}: has no place in a GGUF file of this family, and llama.cpp would do without it; --format hf writes it",
         described(*original.tensors, stored));
  }
  return tensors;
}

void set_preset_types(std::vector<GgufTensor>& tensors, const model::Checkpoint& original,
                      const formats::GgufPreset& preset) {
  const auto& config = original.numbers;
  std::vector<formats::GgufTensorShape> shapes;
  for (const auto& tensor : tensors) shapes.push_back({tensor.name, tensor.shape});
  const auto types = preset_types(preset,
                                  {.architecture = std::string(original.family->gguf.architecture),
                                   .layers = config.layers,
                                   .heads = config.heads,
                                   .key_value_heads = config.key_value_heads,
                                   .experts = config.experts},
                                  shapes);
  for (std::size_t i = 0; i < types.size(); ++i) tensors[i].type = types[i];
}

}  // namespace normtweak::pipeline
