#include "normtweak/model/foreign_names.h"

#include <fmt/ranges.h>

#include <array>
#include <ranges>
#include <set>

#include "normtweak/base/error.h"
#include "normtweak/model/hyperparameters.h"

namespace normtweak::model {
namespace {

// Parts of names by which peft and others wrap a linear.
constexpr std::array<std::string_view, 8> kAdapterParts = {
    ".lora_A.",     ".lora_B.",          ".lora_embedding_A", ".lora_embedding_B", ".lora_magnitude_vector",
    ".base_layer.", ".modules_to_save.", ".original_module."};

bool belongs_to_adapter(const std::string& name) {
  for (const auto part : kAdapterParts) {
    if (name.find(part) != std::string::npos) return true;
  }
  return false;
}

// The first part of `text`, which loses it and its dot.
std::string_view take_part(std::string_view& text) {
  const auto end = text.find('.');
  const auto part = text.substr(0, end);
  text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  return part;
}

// Which keys of the config let a bias be expected; empty if none does.
std::string asks_for_biases(const Checkpoint& checkpoint) {
  const auto& family = *checkpoint.family;
  std::set<std::string> keys;
  using Config = ModelConfig;
  for (const Hyperparameter::Field field :
       {Hyperparameter::Field(&Config::query_key_value_bias), Hyperparameter::Field(&Config::attention_output_bias),
        Hyperparameter::Field(&Config::mlp_bias), Hyperparameter::Field(&Config::norm_bias)}) {
    const auto key = key_of(family, field);
    if (key.empty() || !(checkpoint.numbers.*std::get<bool Config::*>(field))) continue;
    keys.insert(key_name(checkpoint, key));
  }
  return keys.empty() ? "" : fmt::format("; {} asks for it, which is not so in this model", fmt::join(keys, " or "));
}

}  // namespace

std::string extra_parts(std::string_view stored, std::string_view name) {
  std::string extra;
  while (!stored.empty()) {
    auto rest = name;
    const auto part = take_part(stored);
    if (!name.empty() && take_part(rest) == part) {
      name = rest;
    } else {
      extra += fmt::format("{}{}", extra.empty() ? "" : ".", part);
    }
  }
  return name.empty() ? extra : std::string();
}

void refuse_adapter(const Checkpoint& checkpoint) {
  for (const auto& name : checkpoint.tensors->names()) {
    if (!belongs_to_adapter(name)) continue;
    fail(
        "{}: tensor {}: belongs to an adapter (LoRA) that is not merged into the weights; merge it first (in peft "
        "merge_and_unload(), then save_pretrained())",
        checkpoint.tensors->file_of(name), name);
  }
}

void fail_missing(const Checkpoint& checkpoint, const std::string& name) {
  const std::string_view prefix = checkpoint.family->base_prefix;
  const auto base_name = name.starts_with(prefix) ? std::string_view(name).substr(prefix.size()) : name;
  for (const auto& wanted : {std::string_view(name), base_name}) {
    for (const auto& stored : checkpoint.tensors->names()) {
      const auto extra = extra_parts(stored, wanted);
      if (extra.empty()) continue;
      fail("{}: has no tensor {}, but {}; take `{}` out of the names of its tensors",
           checkpoint.tensors->file_of(stored), name, stored, extra);
    }
  }
  fail("{}: has no tensor {} among its {}{}", checkpoint.path, checkpoint.tensors->name_in_file(name),
       checkpoint.tensors->names().size(), name.ends_with(".bias") ? asks_for_biases(checkpoint) : "");
}

}  // namespace normtweak::model
