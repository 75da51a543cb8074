// A set of strings as an automaton that reads a text byte by byte and knows at each place which of them end there: Aho
// and Corasick, "Efficient string matching: an aid to bibliographic search", CACM 18 (1975). Its work is linear in the
// size of the text, however long the strings are: a tokenizer's file decides on both.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace normtweak::text {

// 16 bytes for each byte by which keys differ. The children of a node are neighbours, ordered by their bytes.
class TokenAutomaton {
 public:
  using Entry = std::pair<std::string_view, std::int64_t>;  // key and value

  // How a text is read: from its first byte to its last, or from its last to its first.
  enum class Direction { forward, backward };

  struct Key {
    std::int64_t value = 0;
    std::uint32_t size = 0;     // bytes
    std::uint32_t shorter = 0;  // place of the longest other key that this one ends with (backward: begins with)
  };

  // An empty key is ignored; of equal keys the first wins. The strings are not kept. Throws Error for more than 4 GB.
  explicit TokenAutomaton(std::vector<Entry> entries = {}, Direction direction = Direction::forward);

  bool empty() const { return keys_.empty(); }
  const Key* shorter(const Key& key) const { return key_at(key.shorter); }  // null if there is none

  class Cursor {
   public:
    explicit Cursor(const TokenAutomaton& automaton) : automaton_(automaton) {}

    // The longest key that ends with this byte of the text (backward: begins with it); null if none does.
    const Key* read(char byte) {
      node_ = automaton_.next(node_, static_cast<std::uint8_t>(byte), steps_);
      return automaton_.key_at(automaton_.nodes_[node_].key);
    }

    std::size_t steps() const { return steps_; }  // nodes that were looked at: at most two for each byte

   private:
    const TokenAutomaton& automaton_;
    std::uint32_t node_ = kRoot;
    std::size_t steps_ = 0;
  };

 private:
  static constexpr std::uint32_t kRoot = 0, kNone = 0xFFFFFFFF;
  struct Node {
    std::uint32_t first_child = 0;
    std::uint32_t fallback = kRoot;  // the longest other node whose string this one's ends with
    std::uint32_t key = kNone;       // the longest that this node's string ends with
    std::uint16_t children = 0;
    std::uint8_t byte = 0;
  };
  struct Group;

  void add_children(const Group& group, std::vector<Group>& next_level);
  std::uint32_t next(std::uint32_t node, std::uint8_t byte, std::size_t& steps) const;
  std::uint32_t child(std::uint32_t node, std::uint8_t byte) const;
  const Key* key_at(std::uint32_t place) const { return place == kNone ? nullptr : &keys_[place]; }

  std::vector<Node> nodes_;
  std::vector<Key> keys_;
  std::array<std::uint32_t, 256> roots_ = {};  // the children of the root; the root itself where there is none
};

}  // namespace normtweak::text
