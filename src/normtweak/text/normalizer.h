// What happens to text before it is cut into words: the normalizer of tokenizer.json.
#pragma once
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "normtweak/text/json_part.h"
#include "normtweak/text/regex.h"

namespace normtweak::text {

// Reads null, Sequence, NFC, NFD, NFKC, NFKD, Prepend and Replace. Lowercase and the BERT family are refused.
// The Unicode forms are utf8proc's; characters younger than its tables stay as they are.
class Normalizer {
 public:
  explicit Normalizer(const JsonPart& part);  // throws Error naming what is not supported

  // `text`: valid UTF-8. The result is `text` itself where nothing changes, else a view of `storage`. Throws Error if
  // the text grows beyond reason: each of a file's steps may double it.
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

  // `most`: bytes that the result may have.
  static std::string apply(const UnicodeForm& form, std::string_view text, std::size_t most);
  static std::string apply(const Prepend& prepend, std::string_view text, std::size_t most);
  static std::string apply(const Replace& replace, std::string_view text, std::size_t most);

  std::vector<std::variant<UnicodeForm, Prepend, Replace>> steps_;
};

}  // namespace normtweak::text
