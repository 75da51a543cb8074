// The tokens of a vocabulary as a tree of their bytes, to find all that a text begins with.
#pragma once
#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "normtweak/text/vocabulary.h"

namespace normtweak::text {

// 12 bytes for each byte by which tokens differ. The children of a node are neighbours, ordered by their bytes.
class TokenTrie {
 public:
  explicit TokenTrie(const Vocabulary& vocabulary);

  // Calls visit(size in bytes, id) for each token that is a prefix of `text`, from short to long.
  template <class Visit>
  void for_each_prefix(std::string_view text, Visit visit) const {
    if (text.empty()) return;
    auto node = roots_[static_cast<std::uint8_t>(text.front())];
    for (std::size_t size = 1; node != kNone; ++size) {
      if (nodes_[node].id >= 0) visit(size, static_cast<std::int64_t>(nodes_[node].id));
      if (size == text.size()) return;
      node = child(node, static_cast<std::uint8_t>(text[size]));
    }
  }

 private:
  static constexpr std::uint32_t kNone = 0xFFFFFFFF;
  struct Node {
    std::uint32_t first_child = 0;
    std::int32_t id = -1;  // of the token that ends here
    std::uint16_t children = 0;
    std::uint8_t byte = 0;
  };

  std::uint32_t child(std::uint32_t node, std::uint8_t byte) const;

  std::vector<Node> nodes_;
  std::array<std::uint32_t, 256> roots_ = {};
};

}  // namespace normtweak::text
