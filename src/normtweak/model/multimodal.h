// Models of text and images around a language model of one of the families. Of such a model the language model is
// read, changed and judged, on text alone; everything else is carried along.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/base/json/json.h"
#include "normtweak/formats/module_spellings.h"
#include "normtweak/formats/tensor_source.h"
#include "normtweak/model/checkpoint.h"

namespace normtweak::model {

struct MultimodalModel {
  std::string_view name;            // config.json's `model_type`
  std::string_view architecture;    // the first of config.json's `architectures`
  std::string_view language_model;  // `model_type` of the language model whose config does not say it
  bool tied_head = false;           // if no config says
  bool inner_ties = false;          // whether the language model's config ties the head as well as the whole model's
  bool other_in_llama_cpp = false;  // whether llama.cpp has an architecture of its own for the language model
};

std::span<const MultimodalModel> multimodal_models();

// nullptr: the config is that of a language model, or of something unknown.
const MultimodalModel* find_multimodal(const Json& config);

// The config of the language model as if it stood alone: `text_config`, or the config itself where that has all keys
// side by side, as Qwen2-VL's. Throws Error naming `origin` if there is none.
Json language_config(const MultimodalModel& model, const Json& config, std::string_view origin);

// `family` with the names that its parts have in this multimodal model. It lives as long as the program. Throws Error
// naming the model at `path` if it has the embedding under none of the names that are known.
const Family& family_within(const Family& family, const formats::TensorSource& tensors, const std::string& path);

// By which configs call the modules of the language model; of a language model alone each module has one name.
formats::ModuleSpellings module_spellings(const Checkpoint& checkpoint);

// The list of blocks of a family from family_within(), as transformers' modules are called:
// "model.language_model.layers".
std::string blocks_in_transformers(const Family& family);

// The parts besides the language model, by the first part of their names that tells: "vision_tower". Empty for a
// language model alone.
std::vector<std::string> parts_beside(const Checkpoint& checkpoint);

}  // namespace normtweak::model
