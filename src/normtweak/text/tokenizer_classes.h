// transformers' tokenizer classes, as far as they concern byte-level BPE.
#pragma once
#include <array>
#include <string_view>

#include "normtweak/base/json.h"

namespace normtweak::text {

// The keys of tokens with a role, in transformers' order.
inline constexpr std::array<std::string_view, 7> kRoles = {"bos_token", "eos_token", "unk_token", "sep_token",
                                                           "pad_token", "cls_token", "mask_token"};

// A class that builds its tokenizer anew from vocabulary and merges.
struct RebuildingClass {
  std::string_view name;
  std::array<std::string_view, kRoles.size()> tokens = {};  // for roles that no file mentions; empty: none
  bool nfc = false;                                         // the text is normalised first
  std::string_view regex = {};       // isolated before ByteLevel; empty: ByteLevel applies GPT-2's
  bool keeps_post_processor = true;  // that of tokenizer.json
  bool resets_flags = false;         // tokens with a role lose lstrip, rstrip and single_word
};

// The class that loads the folder of a model of type `model_type`; null for the general one, which uses tokenizer.json
// as it is. `name`: what the files call the class, or empty.
const RebuildingClass* find_rebuilding_class(std::string_view name, std::string_view model_type);

// Whether `name` is a class whose way of loading is known here; no name counts as one.
bool is_known_class(std::string_view name);

// The parts of tokenizer.json that the class makes.
Json rebuilt_normalizer(const RebuildingClass& row);
Json rebuilt_pre_tokenizer(const RebuildingClass& row, bool add_prefix_space);

}  // namespace normtweak::text
