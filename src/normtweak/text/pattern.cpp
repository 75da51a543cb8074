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

}  // namespace normtweak::text
