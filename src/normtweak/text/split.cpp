#include "normtweak/text/split.h"

#include <ranges>

namespace normtweak::text {
namespace {

struct Stretch {
  Span span;
  bool is_match = false;
};

// The whole text as alternating matching and non-matching spans.
std::vector<Stretch> stretches(std::string_view text, const SplitRule& rule, const std::vector<Span>& matches) {
  std::vector<Stretch> result;
  result.reserve(2 * matches.size() + 1);
  std::size_t done = 0;
  for (const auto& match : matches) {
    if (match.begin > done) result.push_back({{done, match.begin}, rule.invert});
    result.push_back({match, !rule.invert});
    done = match.end;
  }
  if (done < text.size()) result.push_back({{done, text.size()}, rule.invert});
  return result;
}

// Joins adjacent spans, left to right, if `joins(previous is a match, this is a match)`.
template <class Joins>
std::vector<Stretch> join(const std::vector<Stretch>& stretches, Joins joins) {
  std::vector<Stretch> result;
  bool previous = false;
  for (const auto& stretch : stretches) {
    if (!result.empty() && joins(previous, stretch.is_match)) {
      result.back().span.end = stretch.span.end;
    } else {
      result.push_back(stretch);
    }
    previous = stretch.is_match;
  }
  return result;
}

// The same from right to left: a match joins the span that follows it, unless that is a match as well.
std::vector<Stretch> join_with_next(const std::vector<Stretch>& stretches) {
  std::vector<Stretch> reversed;
  bool following = false;
  for (const auto& stretch : std::views::reverse(stretches)) {
    if (!reversed.empty() && stretch.is_match && !following) {
      reversed.back().span.begin = stretch.span.begin;
    } else {
      reversed.push_back(stretch);
    }
    following = stretch.is_match;
  }
  return {reversed.rbegin(), reversed.rend()};
}

std::vector<Stretch> arrange(std::vector<Stretch> found, SplitBehavior behavior) {
  switch (behavior) {
    case SplitBehavior::isolated:
      return found;
    case SplitBehavior::removed:
      std::erase_if(found, [](const Stretch& stretch) { return stretch.is_match; });
      return found;
    case SplitBehavior::contiguous:
      return join(found, [](bool previous, bool current) { return previous == current; });
    case SplitBehavior::merged_with_previous:
      return join(found, [](bool previous, bool current) { return current && !previous; });
    case SplitBehavior::merged_with_next:
      return join_with_next(found);
  }
  return found;
}

}  // namespace

void split(std::string_view text, const SplitRule& rule, std::vector<std::string_view>& pieces) {
  thread_local std::vector<Span> matches;  // reused between calls, since pieces are short and many
  rule.regex.find_all(text, matches);
  if (matches.empty() && !rule.invert) {
    if (!text.empty()) pieces.push_back(text);
    return;
  }
  for (const auto& stretch : arrange(stretches(text, rule, matches), rule.behavior)) {
    if (!stretch.span.empty()) pieces.push_back(slice(text, stretch.span));
  }
}

}  // namespace normtweak::text
