#include "normtweak/text/vocabulary.h"

#include <algorithm>
#include <limits>

namespace normtweak::text {
namespace {

// Ids without a token are harmless, but whoever walks over all ids must come to an end.
constexpr std::int64_t kMostGaps = 1'000'000;

}  // namespace

Vocabulary::Vocabulary(const JsonPart& part) {
  const auto& object = part.object();
  ids_.reserve(object.size());
  tokens_.reserve(object.size());
  for (const auto& [token, value] : object.items()) {
    const bool is_id = value.is_number_integer() && value.get<std::int64_t>() >= 0 &&
                       value.get<std::int64_t>() <= std::numeric_limits<std::int32_t>::max();
    if (!is_id) part.fail("token {}: {} is not an id", token, value.dump());
    const auto id = value.get<std::int64_t>();
    const auto row = ids_.insert_or_assign(token, id).first;
    const auto [known, is_new] = tokens_.emplace(id, &row->first);
    if (!is_new && *known->second != token)
      part.fail("the tokens {} and {} share the id {}", *known->second, token, id);
    largest_id_ = std::max(largest_id_, id);
  }
  if (largest_id_ > count() + kMostGaps) {
    part.fail("token {} has the id {}, though there are {} tokens; is the file damaged?", *token(largest_id_),
              largest_id_, count());
  }
}

std::optional<std::int64_t> Vocabulary::id_of(std::string_view token) const {
  const auto row = ids_.find(token);
  return row == ids_.end() ? std::nullopt : std::optional(row->second);
}

const std::string* Vocabulary::token(std::int64_t id) const {
  const auto row = tokens_.find(id);
  return row == tokens_.end() ? nullptr : row->second;
}

}  // namespace normtweak::text
