#include "json_values.h"

#include <algorithm>
#include <cctype>

namespace normtweak::fuzz {
namespace {

bool is_of_word(char letter) {
  return std::isalnum(static_cast<unsigned char>(letter)) != 0 || letter == '+' || letter == '-' || letter == '.';
}

std::size_t end_of_string(std::string_view text, std::size_t quote) {
  for (auto at = quote + 1; at < text.size(); ++at) {
    if (text[at] == '\\') {
      ++at;
    } else if (text[at] == '"') {
      return at + 1;
    }
  }
  return text.size();
}

std::size_t end_of_word(std::string_view text, std::size_t begin) {
  const auto rest = text.substr(begin);
  return begin + static_cast<std::size_t>(std::find_if_not(rest.begin(), rest.end(), is_of_word) - rest.begin());
}

}  // namespace

std::vector<Stretch> json_values(std::string_view text) {
  std::vector<Stretch> values;
  std::vector<std::size_t> open;  // places in `values` of arrays and objects whose end has not come
  for (std::size_t at = 0; at < text.size();) {
    const char letter = text[at];
    auto end = at + 1;
    if (letter == '"' || is_of_word(letter)) {
      end = letter == '"' ? end_of_string(text, at) : end_of_word(text, at);
      values.push_back({at, end - at});
    } else if (letter == '{' || letter == '[') {
      open.push_back(values.size());
      values.push_back({at, 1});
    } else if ((letter == '}' || letter == ']') && !open.empty()) {
      auto& whole = values[open.back()];
      whole.size = end - whole.begin;
      open.pop_back();
    }
    at = end;
  }
  return values;
}

}  // namespace normtweak::fuzz
