// SentencePiece's compiled normalisation rules: `precompiled_charsmap`.
//
//     u32      size of the trie in bytes, little-endian
//     u32 ...  a double array of the darts-clone library: from a piece of text to a place in the strings
//     bytes    strings, each with a zero byte at its end
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace normtweak::text {

class Charsmap {
 public:
  // Throws Error without a file's name if `blob` is malformed.
  explicit Charsmap(std::string_view blob);

  // text: valid UTF-8. The same as the `tokenizers` package, which looks up short clusters of characters first, then
  // single ones, and of the rules for a piece of text takes the shortest that it begins with. Throws Error if the
  // result has more than `most` bytes, or if the rules point beyond their strings.
  std::string normalize(std::string_view text, std::size_t most) const;

 private:
  std::optional<std::string_view> find(std::string_view piece) const;
  void put(std::string_view cluster, std::size_t most, std::string& result) const;

  std::vector<std::uint32_t> units_;
  std::string strings_;
};

}  // namespace normtweak::text
