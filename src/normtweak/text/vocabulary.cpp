#include "normtweak/text/vocabulary.h"

#include <algorithm>
#include <limits>

namespace normtweak::text {
namespace {

// Ids without a token are harmless, but whoever walks over all ids must come to an end.
constexpr std::int64_t kMostGaps = 1'000'000;

std::int64_t read_id(const JsonPart& part, const std::string& token, const Json& value) {
  const bool is_id = value.is_number_integer() && value.get<std::int64_t>() >= 0 &&
                     value.get<std::int64_t>() <= std::numeric_limits<std::int32_t>::max();
  if (!is_id) part.fail("token {}: {} is not an id", token, value.dump());
  return value.get<std::int64_t>();
}

}  // namespace

Vocabulary::Vocabulary(const JsonPart& part) {
  if (part.is_array()) {
    read_list(part);
  } else {
    read_ids(part);
  }
}

void Vocabulary::read_ids(const JsonPart& part) {
  const auto& object = part.object();
  count_ = static_cast<std::int64_t>(object.size());
  ids_.reserve(object.size());
  for (const auto& [token, value] : object.items()) {
    const auto id = read_id(part, token, value);
    ids_.insert_or_assign(token, id);
    if (id > largest_id_) largest_id_ = id;
    if (largest_id_ > count_ + kMostGaps) {
      part.fail("token {} has the id {}, though there are {} tokens; is the file damaged?", token, id, count_);
    }
  }
  tokens_.resize(static_cast<std::size_t>(largest_id_ + 1));
  for (const auto& [token, id] : ids_) {
    auto& known = tokens_[static_cast<std::size_t>(id)];
    if (known != nullptr) {
      const auto& [low, high] = std::minmax(*known, token);
      part.fail("the tokens {} and {} share the id {}", low, high, id);
    }
    known = &token;
  }
}

void Vocabulary::read_list(const JsonPart& part) {
  const auto elements = part.elements();
  count_ = static_cast<std::int64_t>(elements.size());
  ids_.reserve(elements.size());
  tokens_.reserve(elements.size());
  for (const auto& element : elements) {
    const auto pair = element.elements();
    if (pair.size() != 2) element.fail("expected a token and its score");
    const auto row = ids_.insert_or_assign(pair[0].text(), ++largest_id_).first;
    tokens_.push_back(&row->first);
  }
}

std::optional<std::int64_t> Vocabulary::id_of(std::string_view token) const {
  const auto row = ids_.find(token);
  return row == ids_.end() ? std::nullopt : std::optional(row->second);
}

const std::string* Vocabulary::token(std::int64_t id) const {
  return id < 0 || id > largest_id_ ? nullptr : tokens_[static_cast<std::size_t>(id)];
}

}  // namespace normtweak::text
