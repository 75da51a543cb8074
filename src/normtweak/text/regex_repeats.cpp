#include "normtweak/text/regex_repeats.h"

namespace normtweak::text {
namespace {

std::string digits(RegexCursor& cursor) {
  std::string found;
  for (auto rest = cursor.rest(); !rest.empty() && rest.front() >= '0' && rest.front() <= '9'; rest = cursor.rest()) {
    found.push_back(rest.front());
    cursor.skip(1);
  }
  return found;
}

// {n}, {n,}, {n,m} and {,m}.
std::optional<RegexRepeat> read_interval(RegexCursor& cursor) {
  auto ahead = cursor;
  if (!ahead.take("{")) return std::nullopt;
  const auto low = digits(ahead);
  const bool is_fixed = !ahead.take(",");
  const auto high = is_fixed ? low : digits(ahead);
  if (!ahead.take("}") || (low.empty() && high.empty())) return std::nullopt;
  cursor = ahead;
  if (low.size() > 5 || high.size() > 5) cursor.refuse("a repeat of more than 65535 times");
  if (is_fixed) return RegexRepeat{fmt::format("{{{}}}", low)};
  if (!low.empty() && !high.empty() && std::stoi(low) > std::stoi(high)) cursor.refuse("a repeat that runs backwards");
  const auto text = fmt::format("{{{},{}}}", low.empty() ? "0" : low, high);
  return cursor.take("?") ? RegexRepeat{text + "?", false} : RegexRepeat{text};
}

}  // namespace

std::optional<RegexRepeat> read_repeat(RegexCursor& cursor) {
  for (const auto* const sign : {"?", "*", "+"}) {
    if (!cursor.take(sign)) continue;
    if (cursor.take("?")) return RegexRepeat{fmt::format("{}?", sign), false};
    if (cursor.take("+")) return RegexRepeat{fmt::format("{}+", sign), false};
    return RegexRepeat{sign};
  }
  return read_interval(cursor);
}

}  // namespace normtweak::text
