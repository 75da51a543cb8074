// Regular expressions over valid UTF-8, by PCRE2 with its just-in-time compiler.
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
  // Throws Error saying where the pattern is wrong.
  explicit Regex(std::string_view pattern);
  static Regex literal(std::string_view text);  // matches `text` and nothing else

  // The matches from left to right, not overlapping; an empty match is left out where the previous one ended.
  // `text` must be valid UTF-8. `matches` is overwritten. Safe to call from several threads.
  void find_all(std::string_view text, std::vector<Span>& matches) const;

 private:
  struct Code;
  Regex(std::string_view shown, std::string_view pattern, unsigned options);

  std::string shown_;  // the pattern as the user wrote it
  std::shared_ptr<const Code> code_;
};

}  // namespace normtweak::text
