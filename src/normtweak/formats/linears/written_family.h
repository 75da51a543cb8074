// What a family adds to the config of its quantized linears.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/formats/module_spellings.h"

namespace normtweak::formats {

struct WrittenFamily {
  std::string_view base_prefix = {};  // "model.": names within the base model lack it, in transformers' AutoModel
  bool others_read_it = true;         // false for GPT-2, whose Conv1D no other program packs
  ModuleSpellings spellings = {};     // by which readers call the modules
  std::string blocks = {};            // name of the list of blocks, where readers do not find it by themselves
  std::vector<std::string> parts_beside = {};  // of a multimodal model, such as "vision_tower": all of them stay float
};

}  // namespace normtweak::formats
