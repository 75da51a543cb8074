// Applied to text before it is split into words: the normalizer of tokenizer.json.
#pragma once
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "normtweak/text/json_part.h"
#include "normtweak/text/regex.h"

namespace normtweak::text {

// Reads null, Sequence, NFC, NFD, NFKC, NFKD, Prepend and Replace. Lowercase and the BERT family are refused.
// Unicode normalisation is utf8proc's; characters newer than its tables stay unchanged.
class Normalizer {
 public:
  explicit Normalizer(const JsonPart& part);  // throws Error naming what is unsupported

  // text: valid UTF-8. Returns `text` itself if nothing changes, otherwise a view of `storage`. Throws Error if the
  // text grows excessively, since each step of a tokenizer.json may double it.
  std::string_view normalize(std::string_view text, std::string& storage) const;

 private:
  struct UnicodeForm {
    int options;  // utf8proc's
  };
  struct Prepend {
    std::string what;
  };
  struct Replace {
    Regex pattern;
    std::string by;
  };

  void add(const JsonPart& part);
  bool add_unicode_form(std::string_view type);

  // most: maximum size of the result in bytes.
  static std::string apply(const UnicodeForm& form, std::string_view text, std::size_t most);
  static std::string apply(const Prepend& prepend, std::string_view text, std::size_t most);
  static std::string apply(const Replace& replace, std::string_view text, std::size_t most);

  std::vector<std::variant<UnicodeForm, Prepend, Replace>> steps_;
};

}  // namespace normtweak::text
