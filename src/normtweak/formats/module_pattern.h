// A target of a quantization config: "model.layers.0.mlp.up_proj", "re:.*mlp.*", or a class, "Linear".
#pragma once
#include <memory>
#include <string>
#include <string_view>

namespace normtweak::formats {

class ModulePattern {
 public:
  // Throws Error naming the pattern if the text after "re:" is not a valid regular expression.
  explicit ModulePattern(std::string text);

  const std::string& text() const { return text_; }
  bool is_regex() const { return regex_ != nullptr; }

  // As with Python's re.match, a regular expression is anchored at the start but not at the end. Throws Error if
  // matching exceeds its step limit.
  bool matches_name(std::string_view module) const;
  bool matches_class(std::string_view class_name) const { return !is_regex() && text_ == class_name; }

 private:
  std::string text_;
  std::shared_ptr<void> regex_;  // compiled by PCRE2
};

}  // namespace normtweak::formats
