// The model's own tokens as spelled in tokenizer.json, and their ids; added tokens are kept separately.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/text/json_part.h"
#include "normtweak/text/token_index.h"

namespace normtweak::text {

// Allows looking up string keys by string_view.
struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

// The text of all tokens is held in one string.
class Vocabulary {
 public:
  // {"token": id, ...}, or [["token", score], ...] with ids in order. Throws Error for an id that is not one, stands
  // twice or is far beyond the number of tokens. Of equal tokens in a list, the last is found.
  explicit Vocabulary(const JsonPart& part);

  std::optional<std::int64_t> id_of(std::string_view token) const;
  std::optional<std::string_view> token(std::int64_t id) const;  // none for unused ids
  std::int64_t count() const { return count_; }
  std::int64_t largest_id() const { return static_cast<std::int64_t>(places_.size()) - 1; }  // -1 if empty

  // Calls visit(token, id) for each token that can be found, by id.
  template <class Visit>
  void for_each(Visit visit) const {
    for (std::int64_t id = 0; id <= largest_id(); ++id) {
      const auto text = token(id);
      if (text && id_of(*text) == id) visit(*text, id);
    }
  }

 private:
  struct Place {  // of a token in `text_`
    std::uint32_t begin = kUnused, size = 0;
  };
  static constexpr std::uint32_t kUnused = 0xFFFFFFFF;

  void read_ids(const JsonPart& part);
  void read_list(const JsonPart& part);
  void make_room(const JsonPart& part, std::size_t count);
  void put(const JsonPart& part, std::string_view token, std::int64_t id);
  std::string_view text_at(std::int64_t id) const;

  std::string text_;
  std::vector<Place> places_;  // by id
  TokenIndex index_;
  std::int64_t count_ = 0;  // of the entries
};

}  // namespace normtweak::text
