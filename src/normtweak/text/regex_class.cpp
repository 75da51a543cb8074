#include "normtweak/text/regex_class.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "normtweak/text/case_folding.h"
#include "normtweak/text/regex_escapes.h"
#include "normtweak/text/regex_properties.h"

namespace normtweak::text {
namespace {

constexpr std::string_view kAny = "(?s:.)";
constexpr int kDeepest = 32;  // classes within classes

// A union: what PCRE2 can list in one class, and expressions for the rest.
struct Union {
  std::string members;
  std::vector<std::string> others;

  bool empty() const { return members.empty() && others.empty(); }
  std::string expression() const {
    if (others.empty()) return fmt::format("[{}]", members);
    std::string text = members.empty() ? "" : fmt::format("[{}]", members);
    for (const auto& other : others) text += (text.empty() ? "" : "|") + other;
    return fmt::format("(?:{})", text);
  }
};

class ClassReader {
 public:
  ClassReader(RegexCursor& cursor, bool ignore_case) : cursor_(cursor), ignore_case_(ignore_case) {}

  Union read(int depth) {
    if (depth > kDeepest) cursor_.refuse("classes nested too deeply");
    const bool negated = cursor_.take("^");
    if (depth == 0) outer_negated_ = negated;
    std::vector<Union> parts(1);
    for (bool first = true; first || !cursor_.take("]"); first = false) {
      if (cursor_.take("&&")) {
        parts.emplace_back();
      } else {
        read_item(parts.back(), first, depth);
      }
    }
    if (std::ranges::any_of(parts, &Union::empty)) cursor_.refuse("an empty class");
    auto whole = parts.size() == 1 ? std::move(parts.front()) : intersection(parts);
    const bool is_simple = depth == 0 ? whole.others.empty() : whole.others.empty() && !negated;
    if (ignore_case_ && !is_simple) cursor_.refuse("a combination of classes that ignores case");
    if (!negated) return whole;
    if (whole.others.empty()) return {{}, {fmt::format("[^{}]", whole.members)}};
    return {{}, {fmt::format("(?:(?!{}){})", whole.expression(), kAny)}};
  }

 private:
  static Union intersection(const std::vector<Union>& parts) {
    std::string text;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) text += fmt::format("(?={})", parts[i].expression());
    return {{}, {fmt::format("(?:{}{})", text, parts.back().expression())}};
  }

  void read_item(Union& into, bool first, int depth) {
    if (read_bracket(into)) return;
    if (cursor_.take("[")) {
      auto inner = read(depth + 1);
      into.members += inner.members;
      std::ranges::move(inner.others, std::back_inserter(into.others));
      return;
    }
    if (cursor_.next_is("\\")) {
      auto ahead = cursor_;
      ahead.skip(1);
      if (const auto set = read_set_escape(ahead)) {
        cursor_ = ahead;
        if (cursor_.next_is("-") && !cursor_.next_is("-]")) cursor_.refuse("a range that starts with a set");
        return add(into, set->members == kWordEscape ? CharacterSet{std::string(kWordBracket), set->negated} : *set);
      }
    }
    const bool may_be_hyphen = first || cursor_.next_is("-]");
    if (cursor_.next_is("-") && !may_be_hyphen) cursor_.refuse("a hyphen that is not part of a range");
    read_range(into);
  }

  // [:alpha:]
  bool read_bracket(Union& into) {
    if (!cursor_.next_is("[:")) return false;
    const auto rest = cursor_.rest();
    const auto end = rest.find(":]");
    if (end == std::string_view::npos) return false;
    auto name = rest.substr(2, end - 2);
    const bool negated = name.starts_with('^');
    if (negated) name.remove_prefix(1);
    const auto members = posix_members(name);
    if (!members) cursor_.refuse("an unknown POSIX bracket");
    cursor_.skip(end + 2);
    add(into, {*members, negated});
    return true;
  }

  void read_range(Union& into) {
    const auto low = read_character();
    auto high = low;
    const bool is_range = cursor_.next_is("-") && !cursor_.next_is("-]");
    if (is_range) {
      cursor_.skip(1);
      if (cursor_.next_is("[") || cursor_.next_is("&&") || cursor_.next_is("-")) cursor_.refuse("an unusual range");
      high = read_character();
      if (cursor_.next_is("-") && !cursor_.next_is("-]")) cursor_.refuse("a range that goes on");
    }
    if (high < low) cursor_.refuse("a range that runs backwards");
    if (ignore_case_) {
      for (const auto& wide : wide_foldings()) {
        if (wide.point >= low && wide.point <= high) cursor_.refuse("a letter of several (ß = ss) that ignores case");
      }
    }
    into.members += literal(low);
    if (!is_range) return;
    into.members += "-";
    into.members += literal(high);
  }

  char32_t read_character() {
    if (!cursor_.take("\\")) return cursor_.take_character();
    if (cursor_.take("b")) return 0x08;
    if (auto ahead = cursor_; read_set_escape(ahead)) cursor_.refuse("a range that ends with a set");
    return read_character_escape(cursor_);
  }

  void add(Union& into, const CharacterSet& set) {
    auto members = set.members;
    if (ignore_case_) check_closed(set, members);
    if (!set.negated) {
      into.members += members;
    } else if (members.starts_with("\\p{") && members.find('}') == members.size() - 1) {
      members[1] = 'P';
      into.members += members;
    } else {
      into.others.push_back(fmt::format("[^{}]", members));
    }
  }

  // Oniguruma adds to a class whatever differs from a member by case alone, PCRE2 to single characters only. A set that
  // holds such letters also adds sequences (ß = ss), though not to a negated class.
  void check_closed(const CharacterSet& set, std::string& members) const {
    constexpr std::array<std::string_view, 7> kClosed = {R"(\p{N})", R"(\p{Nd})",          R"(\p{P})", R"(\p{S})",
                                                         R"(\p{Z})", R"(\p{White_Space})", R"(\p{Cc})"};
    const bool is_closed = std::ranges::find(kClosed, members) != kClosed.end();
    if (is_closed && (!set.negated || outer_negated_)) return;
    if (members != R"(\p{L})" || set.negated || !outer_negated_) cursor_.refuse("a set in a class that ignores case");
    members += R"(\x{345})";  // U+0345, a mark, is ι in another case
  }

  RegexCursor& cursor_;
  bool ignore_case_;
  bool outer_negated_ = false;
};

}  // namespace

std::string translate_class(RegexCursor& cursor, bool ignore_case) {
  const auto found = ClassReader(cursor, ignore_case).read(0);
  if (found.members.empty() && found.others.size() == 1) return found.others.front();
  return found.expression();
}

}  // namespace normtweak::text
