// A target of a quantization config that is a regular expression, "re:.*mlp.*"; others are names of modules or classes.
#pragma once
#include <memory>
#include <string>
#include <string_view>

namespace normtweak::formats {

class ModulePattern {
 public:
  static bool is_regex(std::string_view target);

  // Throws Error naming the pattern if the text after "re:" is not a valid regular expression. text: for which
  // is_regex() is true.
  explicit ModulePattern(std::string text);

  // As with Python's re.match, a regular expression is anchored at the start but not at the end. Throws Error if
  // matching exceeds its step limit.
  bool matches(std::string_view module) const;

 private:
  std::string text_;
  std::shared_ptr<void> regex_;  // compiled by PCRE2
};

}  // namespace normtweak::formats
