// What a family adds to the config of its quantized linears.
#pragma once
#include <string_view>

namespace normtweak::formats {

struct WrittenFamily {
  std::string_view base_prefix = {};  // "model.": names within the base model lack it, in transformers' AutoModel
  bool others_read_it = true;         // false for GPT-2, whose Conv1D no other program packs
};

}  // namespace normtweak::formats
