// Applied to text before it is split into words: the normalizer of tokenizer.json.
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/text/growth.h"
#include "normtweak/text/json_part.h"

namespace normtweak::text {

// Reads null and all normalizers of the `tokenizers` package. Unicode normalisation and case are utf8proc's; characters
// newer than its tables stay unchanged.
class Normalizer {
 public:
  explicit Normalizer(const JsonPart& part);  // throws Error naming what is unsupported

  // text: valid UTF-8. Returns `text` itself if nothing changes, otherwise a view of `storage`. is_first: cleared if
  // the first character is left out. Throws Error if the text grows by more than `growth` still allows.
  std::string_view normalize(std::string_view text, std::string& storage, bool& is_first, Growth& growth) const;

  // most: maximum size of the result in bytes.
  using Change = std::function<std::string(std::string_view text, std::size_t most, bool& is_first)>;
  struct Step {
    Change change;
    bool keeps_ascii = false;
  };

 private:
  void add(const JsonPart& part);

  std::vector<Step> steps_;
};

}  // namespace normtweak::text
