#include "normtweak/text/regex_syntax.h"

#include "normtweak/base/error.h"

namespace normtweak::text {
namespace {

// Found by testing every character with Oniguruma, whose treatment of Latin-1 fractions and superscripts is its own.
constexpr std::string_view kWordMembers = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})";

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
    if (next_is("\\s")) return replace(2, R"(\p{White_Space})");
    if (next_is("\\S")) return replace(2, R"(\P{White_Space})");
    if (next_is("\\h") || next_is("\\H")) refuse("\\h (hexadecimal digit)");
    return depth_ > 0 ? escape_in_class() : escape_outside();
  }

  void escape_in_class() {
    if (next_is("\\w")) return replace(2, kWordMembers);
    if (next_is("\\W")) refuse("\\W within a class");
    copy(2);
  }

  void escape_outside() {
    const auto word = fmt::format("[{}]", kWordMembers);
    if (next_is("\\w")) return replace(2, word);
    if (next_is("\\W")) return replace(2, fmt::format("[^{}]", kWordMembers));
    if (next_is("\\b")) return replace(2, fmt::format("(?:(?<={0})(?!{0})|(?<!{0})(?={0}))", word));
    if (next_is("\\B")) return replace(2, fmt::format("(?:(?<={0})(?={0})|(?<!{0})(?!{0}))", word));
    copy(2);
  }

  void open_class() {
    depth_ = 1;
    copy(next_is("[^") ? 2 : 1);
    if (next_is("]")) replace(1, "\\]");  // first in a class, it is a literal
  }

  void class_member() {
    if (next_is("[:")) return copy(2);  // [:alpha:]: closed by ":]"
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
