// The model's own tokens as spelled in tokenizer.json, and their ids; added tokens are kept separately.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "normtweak/text/json_part.h"

namespace normtweak::text {

// Allows looking up string keys by string_view.
struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

class Vocabulary {
 public:
  explicit Vocabulary(const JsonPart& part);  // {"token": id, ...}; throws Error for an id that is not one,
                                              // stands twice or is far beyond the number of tokens

  std::optional<std::int64_t> id_of(std::string_view token) const;
  const std::string* token(std::int64_t id) const;  // null for unused ids
  std::int64_t count() const { return static_cast<std::int64_t>(ids_.size()); }
  std::int64_t largest_id() const { return largest_id_; }  // -1 if empty

  const std::unordered_map<std::string, std::int64_t, StringHash, std::equal_to<>>& ids() const { return ids_; }

 private:
  std::unordered_map<std::string, std::int64_t, StringHash, std::equal_to<>> ids_;
  std::unordered_map<std::int64_t, const std::string*> tokens_;  // the keys of ids_, which never move
  std::int64_t largest_id_ = -1;
};

}  // namespace normtweak::text
