// Regular expressions over valid UTF-8, through PCRE2 and its JIT compiler.
#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace normtweak::text {

struct Span {
  std::size_t begin = 0, end = 0;  // bytes
  bool empty() const { return begin == end; }
};

inline std::string_view slice(std::string_view text, Span span) {
  return text.substr(span.begin, span.end - span.begin);
}

class Regex {
 public:
  // `pattern`: in Oniguruma's syntax, see regex_syntax.h. Throws Error naming what is wrong or cannot be translated.
  explicit Regex(std::string_view pattern);
  static Regex literal(std::string_view text);  // matches `text` and nothing else

  // Non-overlapping matches from left to right; an empty match at the end of the previous one is skipped. `text` must
  // be valid UTF-8. `matches` is overwritten. Thread-safe.
  void find_all(std::string_view text, std::vector<Span>& matches) const;

 private:
  struct Code;
  Regex(std::string_view shown, std::string_view pattern, unsigned options);

  void find_literal(std::string_view text, std::vector<Span>& matches) const;

  std::string shown_;    // the pattern as the user wrote it, or its beginning
  std::string literal_;  // what the regex stands for, if it is a literal
  std::shared_ptr<const Code> code_;
};

}  // namespace normtweak::text
