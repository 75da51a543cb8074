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

void Vocabulary::make_room(const JsonPart& part, std::size_t count) {
  count_ = static_cast<std::int64_t>(count);
  index_ = TokenIndex(count);
  std::size_t size = 0;
  if (part.is_object()) {
    for (const auto& row : part.object().items()) size += row.key().size();
  }
  text_.reserve(size);
}

void Vocabulary::put(const JsonPart& part, std::string_view token, std::int64_t id) {
  if (text_.size() + token.size() >= kUnused) part.fail("the tokens have more than 4 GB");
  if (id > largest_id()) places_.resize(static_cast<std::size_t>(id + 1));
  places_[static_cast<std::size_t>(id)] = {static_cast<std::uint32_t>(text_.size()),
                                           static_cast<std::uint32_t>(token.size())};
  text_ += token;
  index_.put(token, static_cast<std::int32_t>(id), [&](std::int32_t other) { return text_at(other); });
}

void Vocabulary::read_ids(const JsonPart& part) {
  const auto& object = part.object();
  make_room(part, object.size());
  for (const auto& [name, value] : object.items()) {
    const auto id = read_id(part, name, value);
    if (id > count_ + kMostGaps) {
      part.fail("token {} has the id {}, though there are {} tokens; is the file damaged?", name, id, count_);
    }
    if (const auto known = token(id)) {
      const std::string_view other = name;
      const auto [low, high] = std::minmax(*known, other);
      part.fail("the tokens {} and {} share the id {}", low, high, id);
    }
    put(part, name, id);
  }
}

void Vocabulary::read_list(const JsonPart& part) {
  const auto elements = part.elements();
  make_room(part, elements.size());
  std::int64_t id = 0;
  for (const auto& element : elements) {
    const auto pair = element.elements();
    if (pair.size() != 2) element.fail("expected a token and its score");
    put(part, pair[0].text(), id++);
  }
}

std::optional<std::int64_t> Vocabulary::id_of(std::string_view token) const {
  return index_.find(token, [&](std::int32_t id) { return text_at(id); });
}

std::string_view Vocabulary::text_at(std::int64_t id) const {
  const auto& place = places_[static_cast<std::size_t>(id)];
  return std::string_view(text_).substr(place.begin, place.size);
}

std::optional<std::string_view> Vocabulary::token(std::int64_t id) const {
  if (id < 0 || id > largest_id()) return std::nullopt;
  if (places_[static_cast<std::size_t>(id)].begin == kUnused) return std::nullopt;
  return text_at(id);
}

}  // namespace normtweak::text
