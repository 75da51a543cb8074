// The model's own tokens as spelled in tokenizer.json, and their ids; added tokens are kept separately.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "normtweak/text/json_part.h"

namespace normtweak::text {

// Allows looking up string keys by string_view.
struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

class Vocabulary {
 public:
  // {"token": id, ...}, or [["token", score], ...] with ids in order. Throws Error for an id that is not one, stands
  // twice or is far beyond the number of tokens. Of equal tokens in a list, the last is found.
  explicit Vocabulary(const JsonPart& part);

  std::optional<std::int64_t> id_of(std::string_view token) const;
  const std::string* token(std::int64_t id) const;  // null for unused ids
  std::int64_t count() const { return count_; }
  std::int64_t largest_id() const { return largest_id_; }  // -1 if empty

  const std::unordered_map<std::string, std::int64_t, StringHash, std::equal_to<>>& ids() const { return ids_; }

 private:
  void read_ids(const JsonPart& part);
  void read_list(const JsonPart& part);

  std::unordered_map<std::string, std::int64_t, StringHash, std::equal_to<>> ids_;
  std::vector<const std::string*> tokens_;  // by id: the keys of ids_, which never move
  std::int64_t count_ = 0;                  // of the entries
  std::int64_t largest_id_ = -1;
};

}  // namespace normtweak::text
