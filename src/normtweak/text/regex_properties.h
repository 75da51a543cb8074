// Named sets of characters in Oniguruma's regexes, as members of a PCRE2 class.
#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace normtweak::text {

// \w and \p{Word} outside of a class, and within one, where Oniguruma leaves out Latin-1's fractions and superscripts.
extern const std::string_view kWordEscape, kWordBracket;

// NAME of \p{NAME}: a general category, a POSIX name, a binary property or a script. Upper and lower case, spaces, -
// and _ make no difference. A name that PCRE2 does not know is refused when the regex is compiled. Script names stand
// for the property Script; PCRE2's plain \p{Greek} would be Script_Extensions.
std::string property_members(std::string_view name);

// NAME of [:NAME:]; nullopt if there is none.
std::optional<std::string> posix_members(std::string_view name);

}  // namespace normtweak::text
