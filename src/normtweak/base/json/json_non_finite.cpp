#include "normtweak/base/json/json_non_finite.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

namespace normtweak {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

bool is_digit(char letter) { return letter >= '0' && letter <= '9'; }

bool is_of_word(char letter) {
  return is_digit(letter) || (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') || letter == '+' ||
         letter == '-' || letter == '.';
}

// Behind the string that begins with the quote at `begin`.
std::size_t end_of_string(std::string_view text, std::size_t begin) {
  for (auto at = text.find_first_of("\"\\", begin + 1); at < text.size(); at = text.find_first_of("\"\\", at + 2)) {
    if (text[at] == '"') return at + 1;
  }
  return text.size();
}

// Calls `visit` with the beginning and the size of each word outside of strings: numbers, true, false, null.
template <class Visit>
void for_each_word(std::string_view text, const Visit& visit) {
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == '"') {
      at = end_of_string(text, at);
    } else if (!is_of_word(text[at])) {
      ++at;
    } else {
      const auto begin = at;
      while (at < text.size() && is_of_word(text[at])) ++at;
      visit(begin, at - begin);
    }
  }
}

std::string_view without_sign(std::string_view number) { return number.substr(number.starts_with('-') ? 1 : 0); }

std::size_t count_digits(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::find_if_not(text, is_digit) - text.begin());
}

// JSON's grammar, with a fraction or an exponent.
bool is_decimal(std::string_view number) {
  auto rest = without_sign(number);
  const auto whole = count_digits(rest);
  if (whole == 0 || (whole > 1 && rest.front() == '0')) return false;
  rest.remove_prefix(whole);
  const bool has_fraction = rest.starts_with('.');
  if (has_fraction) {
    const auto digits = count_digits(rest.substr(1));
    if (digits == 0) return false;
    rest.remove_prefix(1 + digits);
  }
  if (rest.empty()) return has_fraction;
  if (rest.front() != 'e' && rest.front() != 'E') return false;
  rest.remove_prefix(1);
  if (rest.starts_with('-') || rest.starts_with('+')) rest.remove_prefix(1);
  return !rest.empty() && count_digits(rest) == rest.size();
}

bool overflows(std::string_view word) {
  constexpr std::size_t kShortest = 5;  // 1e309
  if (word.size() < kShortest || !is_digit(without_sign(word).front()) || !is_decimal(word)) return false;
  return std::isinf(std::strtod(std::string(word).c_str(), nullptr));
}

// 0 where the word is no number that needs a stand-in.
float non_finite(std::string_view word) {
  if (word == "NaN") return std::numeric_limits<float>::quiet_NaN();
  if (word == "Infinity" || word == "-Infinity" || overflows(word)) return word.front() == '-' ? -kInfinity : kInfinity;
  return 0;
}

// Which words the nulls of a dump stand for, in its order.
void collect_nulls(const Json& value, std::vector<std::string_view>& words, bool& has_other) {
  if (value.is_null()) words.emplace_back("null");
  if (value.is_structured()) {
    for (const auto& part : value) collect_nulls(part, words, has_other);
  }
  if (!value.is_number_float() || std::isfinite(value.get<double>())) return;
  const auto number = value.get<double>();
  words.emplace_back(std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity");
  has_other = true;
}

}  // namespace

// Its like, such as 0e0 or -0e000, is a zero of JSON, too, and stands for itself where the original has it.
bool is_stand_in(std::string_view number) {
  number = without_sign(number);
  return number.starts_with("0e0") && number.find_first_not_of('0', 2) == std::string_view::npos;
}

StandIn stand_in_for(std::string_view text) {
  StandIn result;
  for_each_word(text, [&](std::size_t begin, std::size_t size) {
    const auto word = text.substr(begin, size);
    const auto value = non_finite(word);
    if (value != 0 && result.text.empty()) result.text = text;
    if (value != 0) {
      std::string zero(size, '0');
      if (word.front() == '-') zero.front() = '-';
      zero[word.front() == '-' ? 2 : 1] = 'e';
      result.text.replace(begin, size, zero);
      result.values.push_back(value);
    } else if (is_stand_in(word)) {
      result.values.push_back(word.front() == '-' ? -0.0F : 0.0F);
    }
  });
  return result;
}

std::string dump_json(const Json& value, int indent) {
  const auto dump = value.dump(indent, ' ', false, Json::error_handler_t::replace);
  std::vector<std::string_view> words;
  bool has_other = false;
  collect_nulls(value, words, has_other);
  if (!has_other) return dump;
  std::string text;
  std::size_t copied = 0;
  auto next = words.begin();
  for_each_word(dump, [&](std::size_t begin, std::size_t size) {
    if (std::string_view(dump).substr(begin, size) != "null") return;
    text.append(dump, copied, begin - copied).append(*next++);
    copied = begin + size;
  });
  return text.append(dump, copied);
}

}  // namespace normtweak
