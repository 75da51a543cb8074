// A hash table from tokens to their ids. The tokens' text is held elsewhere and asked for by id: a map of strings takes
// three times the memory, and twice the time where it does not fit in the processor's cache.
#pragma once
#include <bit>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

namespace normtweak::text {

class TokenIndex {
 public:
  explicit TokenIndex(std::size_t count = 0) : slots_(std::bit_ceil(2 * count + 1)) {}  // that many can be put

  // text_of(id): the text of each id that was put.
  template <class TextOf>
  std::optional<std::int32_t> find(std::string_view token, TextOf text_of) const {
    const auto& slot = slots_[place_of(token, hash_of(token), text_of)];
    return slot.id < 0 ? std::nullopt : std::optional(slot.id);
  }

  // Returns the id that the token had before, if any.
  template <class TextOf>
  std::optional<std::int32_t> put(std::string_view token, std::int32_t id, TextOf text_of) {
    const auto hash = hash_of(token);
    auto& slot = slots_[place_of(token, hash, text_of)];
    const auto before = slot.id < 0 ? std::nullopt : std::optional(slot.id);
    slot = {hash, id};
    return before;
  }

 private:
  struct Slot {
    std::uint32_t hash = 0;
    std::int32_t id = -1;
  };

  static std::uint32_t hash_of(std::string_view token) {
    return static_cast<std::uint32_t>(std::hash<std::string_view>{}(token));
  }

  // Of the token, or of the empty slot where it belongs.
  template <class TextOf>
  std::size_t place_of(std::string_view token, std::uint32_t hash, TextOf text_of) const {
    const auto mask = slots_.size() - 1;
    auto place = hash & mask;
    while (slots_[place].id >= 0 && (slots_[place].hash != hash || text_of(slots_[place].id) != token)) {
      place = (place + 1) & mask;
    }
    return place;
  }

  std::vector<Slot> slots_;  // a power of two; more than half of them are empty
};

}  // namespace normtweak::text
