// transformers' tokenizer classes, as far as they concern byte-level BPE.
#pragma once
#include <array>
#include <cstdint>
#include <string_view>

#include "normtweak/base/json/json.h"

namespace normtweak::text {

// The keys of tokens with a role, in transformers' order.
inline constexpr std::array<std::string_view, 7> kRoles = {"bos_token", "eos_token", "unk_token", "sep_token",
                                                           "pad_token", "cls_token", "mask_token"};

// Where the special tokens around a text come from: the file, nowhere, or cls_token before and sep_token after it.
enum class Around : std::uint8_t { file, nothing, cls_and_sep };

// What becomes of the flags of special tokens that a file adds: kept, replaced by those of the role, or none but
// special.
enum class Flags : std::uint8_t { kept, of_role, reset };

// A class that builds its tokenizer anew from vocabulary and merges.
struct RebuildingClass {
  std::string_view name;
  std::array<std::string_view, kRoles.size()> tokens = {};  // for roles that no file mentions; empty: none
  bool nfc = false;                                         // the text is normalised first
  bool digits = false;                                      // each digit is isolated first
  std::string_view regex = {};    // isolated before ByteLevel; empty: ByteLevel applies GPT-2's
  bool prefix_space = false;      // before a text without one, unless tokenizer_config.json says otherwise
  bool mask_takes_space = false;  // the mask token also matches the white space before it, unless a file gives flags
  Around around = Around::file;
  Flags flags = Flags::kept;
};

// The class that loads the folder of a model of type `model_type`; null for the general one, which uses tokenizer.json
// as it is. `name`: what the files call the class, or empty.
const RebuildingClass* find_rebuilding_class(std::string_view name, std::string_view model_type);

// Whether transformers has such a class and builds its tokenizer in a way that is not known here.
bool is_refused_class(std::string_view name);

// Whether `name` is a class whose way of loading is known here; no name counts as one.
bool is_known_class(std::string_view name);

// The parts of tokenizer.json that the class makes.
Json rebuilt_normalizer(const RebuildingClass& row);
Json rebuilt_pre_tokenizer(const RebuildingClass& row, bool add_prefix_space);

}  // namespace normtweak::text
