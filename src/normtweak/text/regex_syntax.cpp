#include "normtweak/text/regex_syntax.h"

#include "normtweak/base/error.h"

namespace normtweak::text {
namespace {

constexpr std::string_view kWordMembers = R"(\p{L}\p{M}\p{Nd}\p{Pc})";

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  std::string run() {
    while (at_ < pattern_.size()) {
      if (pattern_[at_] == '\\') {
        escape();
      } else if (depth_ > 0) {
        class_member();
      } else if (pattern_[at_] == '[') {
        open_class();
      } else {
        copy(1);
      }
    }
    return std::move(result_);
  }

 private:
  bool next_is(std::string_view what) const { return pattern_.substr(at_).starts_with(what); }

  void copy(std::size_t count) {
    result_ += pattern_.substr(at_, count);
    at_ += count;
  }

  void replace(std::size_t count, std::string_view by) {
    result_ += by;
    at_ += count;
  }

  [[noreturn]] void refuse(std::string_view what) const {
    fail("the regex {} uses {}, which PCRE2 cannot express", pattern_, what);
  }

  void escape() {
    const bool in_class = depth_ > 0;
    if (next_is("\\s")) return replace(2, R"(\p{White_Space})");
    if (next_is("\\S")) return replace(2, R"(\P{White_Space})");
    if (next_is("\\w")) return replace(2, in_class ? std::string(kWordMembers) : fmt::format("[{}]", kWordMembers));
    if (next_is("\\W") && in_class) refuse("\\W within a class");
    if (next_is("\\W")) return replace(2, fmt::format("[^{}]", kWordMembers));
    if (next_is("\\h") || next_is("\\H")) refuse("\\h (hexadecimal digit)");
    copy(2);
  }

  void open_class() {
    depth_ = 1;
    copy(next_is("[^") ? 2 : 1);
    if (next_is("]")) replace(1, "\\]");  // first in a class it is a member
  }

  void class_member() {
    if (next_is("[:")) return copy(2);  // [:alpha:]: the colon's bracket closes it
    if (next_is(":]")) return copy(2);
    if (next_is("&&")) refuse("&& within a class");
    if (next_is("[^")) refuse("[^...] within a class");
    if (next_is("[")) {
      ++depth_;
      return replace(1, "");
    }
    if (next_is("]") && --depth_ > 0) return replace(1, "");
    copy(1);
  }

  std::string_view pattern_;
  std::string result_;
  std::size_t at_ = 0;
  int depth_ = 0;  // of character classes
};

}  // namespace

std::string to_pcre2(std::string_view pattern) { return Translator(pattern).run(); }

}  // namespace normtweak::text
