// transformers' tokenizer classes, as far as they concern language models.
#pragma once
#include <array>
#include <cstdint>
#include <string_view>

#include "normtweak/base/json/json.h"
#include "normtweak/text/json_part.h"

namespace normtweak::text {

// The keys of tokens with a role, in transformers' order.
inline constexpr std::array<std::string_view, 7> kRoles = {"bos_token", "eos_token", "unk_token", "sep_token",
                                                           "pad_token", "cls_token", "mask_token"};

// Where the special tokens around a text come from: the file, nowhere, or cls_token before and sep_token after it.
enum class Around : std::uint8_t { file, nothing, cls_and_sep };

// What becomes of the flags of special tokens that a file adds: kept, replaced by those of the role, or none but
// special.
enum class Flags : std::uint8_t { kept, of_role, reset };

// How a class spells words: in bytes, as GPT-2; in characters, with a space put in front as Llama does, or without as
// Gemma.
enum class Form : std::uint8_t { bytes, llama, gemma };

// A class that builds its tokenizer anew from vocabulary and merges.
struct RebuildingClass {
  std::string_view name;
  Form form = Form::bytes;
  std::array<std::string_view, kRoles.size()> tokens = {};  // for roles that no file mentions; empty: none
  bool nfc = false;                                         // the text is normalised first
  bool digits = false;                                      // each digit is isolated first
  std::string_view regex = {};    // isolated before ByteLevel; empty: ByteLevel applies GPT-2's
  bool prefix_space = false;      // before a text without one, unless tokenizer_config.json says otherwise
  bool mask_takes_space = false;  // the mask token also matches the white space before it, unless a file gives flags
  Around around = Around::file;
  Flags flags = Flags::kept;
};

// What decides on the class.
struct ClassFacts {
  std::string_view name;             // that of tokenizer_config.json, or else of config.json; may be empty
  std::string_view model_type;       // of config.json
  bool mentions_byte_level = false;  // tokenizer.json has a part ByteLevel
};

// What AutoTokenizer loads a folder with.
struct ChosenClass {
  const RebuildingClass* row = nullptr;  // null: the general class, which uses tokenizer.json as it is
  bool is_known = true;                  // false: transformers does not know the name, and takes the general class
  bool is_refused = false;               // transformers has the class, and builds it in a way that is not known here
};

// Model types have classes of their own: one that no file names, or that files name wrongly.
ChosenClass choose_class(const ClassFacts& facts);

// The parts of tokenizer.json that the class makes, put in place of those of `document`. config:
// tokenizer_config.json. unknown: the unknown token. Throws Error naming `origin` if the class has no use for the
// model of the document.
void rebuild(Json& document, const RebuildingClass& row, const JsonPart& config, const std::string& unknown,
             std::string_view origin);

}  // namespace normtweak::text
