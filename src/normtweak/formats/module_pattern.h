// Which modules a quantization config speaks of: "model.layers.0.mlp.up_proj", "re:.*mlp.*", or a class, "Linear".
#pragma once
#include <memory>
#include <string>
#include <string_view>

namespace normtweak::formats {

class ModulePattern {
 public:
  // Throws Error naming the pattern if what follows "re:" is no regular expression.
  explicit ModulePattern(std::string text);

  const std::string& text() const { return text_; }
  bool is_regex() const { return regex_ != nullptr; }

  // Like Python's re.match, a regular expression has to match from the start, but not to the end. Throws Error if the
  // expression takes unreasonably long.
  bool matches_name(std::string_view module) const;
  bool matches_class(std::string_view class_name) const { return !is_regex() && text_ == class_name; }

 private:
  std::string text_;
  std::shared_ptr<void> regex_;  // compiled by PCRE2
};

}  // namespace normtweak::formats
