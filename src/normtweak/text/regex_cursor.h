// A place in a regex that is being read, for the files that translate it.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "normtweak/base/error.h"
#include "normtweak/text/utf8.h"

namespace normtweak::text {

class RegexCursor {
 public:
  explicit RegexCursor(std::string_view pattern) : pattern_(pattern) {}

  bool at_end() const { return at_ >= pattern_.size(); }
  bool next_is(std::string_view what) const { return rest().starts_with(what); }
  std::string_view rest() const { return pattern_.substr(at_); }
  std::size_t place() const { return at_; }
  void skip(std::size_t bytes) { at_ += bytes; }

  bool take(std::string_view what) {
    if (!next_is(what)) return false;
    at_ += what.size();
    return true;
  }

  // The next character, which must exist.
  char32_t take_character() {
    if (at_end()) refuse("an end within an expression");
    const auto point = code_point_at(pattern_, at_);
    if (!point.valid) refuse("bytes that are not UTF-8");
    at_ += point.length;
    return point.value;
  }

  // Up to `most` digits of `base`, at least one; `what` names the construct.
  char32_t take_number(unsigned base, std::size_t most, std::string_view what) {
    char32_t value = 0;
    std::size_t count = 0;
    for (int digit = 0; count < most && (digit = digit_at(base)) >= 0; ++count, ++at_) {
      value = value * base + static_cast<char32_t>(digit);
    }
    if (count == 0) refuse(what);
    return value;
  }

  [[noreturn]] void refuse(std::string_view what) const {
    fail("the regex has {} before byte {}; it cannot be translated for PCRE2", what, at_);
  }

 private:
  int digit_at(unsigned base) const {
    if (at_end()) return -1;
    const char c = pattern_[at_];
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : 99;
    return digit < static_cast<int>(base) ? digit : -1;
  }

  std::string_view pattern_;
  std::size_t at_ = 0;
};

}  // namespace normtweak::text
