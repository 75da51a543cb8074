#include "normtweak/text/pattern.h"

namespace normtweak::text {

Regex read_pattern(const JsonPart& part) {
  const auto regex = part["Regex"], literal = part["String"];
  if (!literal.is_null()) return Regex::literal(literal.text());
  if (regex.is_null()) part.fail("expected a Regex or a String");
  const auto& pattern = regex.text();
  try {
    return Regex(pattern);
  } catch (const Error& error) {
    regex.fail("{}", error.what());
  }
}

std::string replaced(std::string_view text, const std::vector<Span>& matches, std::string_view by) {
  std::string result;
  result.reserve(text.size() + matches.size() * by.size());
  std::size_t done = 0;
  for (const auto& match : matches) {
    result.append(text.substr(done, match.begin - done)).append(by);
    done = match.end;
  }
  return result.append(text.substr(done));
}

}  // namespace normtweak::text
