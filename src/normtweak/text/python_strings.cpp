#include "normtweak/text/python_strings.h"

#include <utf8proc.h>

#include "normtweak/text/characters.h"
#include "normtweak/text/utf8.h"

namespace normtweak::text {

std::string_view stripped(std::string_view text) {
  text.remove_prefix(leading_white_space(text));
  text.remove_suffix(trailing_white_space(text));
  return text;
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string result;
  for (auto at = text.find(from); at != std::string_view::npos; at = text.find(from)) {
    result += text.substr(0, at);
    result += to;
    text.remove_prefix(at + from.size());
  }
  return result += text;
}

std::string capitalized(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const auto point = code_point_at(text, at);
    const auto value = static_cast<utf8proc_int32_t>(point.value);
    append_utf8(result, static_cast<char32_t>(at == 0 ? utf8proc_totitle(value) : utf8proc_tolower(value)));
    at += point.length;
  }
  return result;
}

std::int64_t length(std::string_view text) {
  std::int64_t characters = 0;
  for (std::size_t at = 0; at < text.size(); at += code_point_at(text, at).length) ++characters;
  return characters;
}

}  // namespace normtweak::text
