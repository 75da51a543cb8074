#include "normtweak/text/regex_syntax.h"

#include <optional>

#include "normtweak/text/case_folding.h"
#include "normtweak/text/regex_class.h"
#include "normtweak/text/regex_cursor.h"
#include "normtweak/text/regex_escapes.h"
#include "normtweak/text/regex_properties.h"
#include "normtweak/text/regex_repeats.h"

namespace normtweak::text {
namespace {

constexpr int kDeepest = 100;  // groups within groups

struct Options {
  bool ignore_case = false, dot_matches_newline = false, extended = false;
};

struct Atom {
  std::string text;
  bool repeatable = true;    // anchors and lookarounds are not
  bool ends_branch = false;  // it took everything to the end of the group
};

class Translator {
 public:
  explicit Translator(std::string_view pattern) : cursor_(pattern), has_names_(has_named_group(pattern)) {}

  std::string run() {
    auto text = alternatives();
    if (!cursor_.at_end()) cursor_.refuse("an unmatched closing parenthesis");
    return text;
  }

 private:
  static bool has_named_group(std::string_view pattern) {
    for (auto at = pattern.find("(?<"); at != std::string_view::npos; at = pattern.find("(?<", at + 1)) {
      const auto next = pattern.substr(at + 3, 1);
      if (next != "=" && next != "!") return true;
    }
    return pattern.find("(?'") != std::string_view::npos;
  }

  // Up to the end of the group, which is not taken.
  std::string alternatives() {
    std::string text;
    for (;;) {
      text += branch();
      if (!cursor_.take("|")) return text;
      text += '|';
      folded_.clear();
    }
  }

  std::string branch() {
    std::string text;
    for (skip_blanks(); !cursor_.at_end() && !cursor_.next_is("|") && !cursor_.next_is(")"); skip_blanks()) {
      auto found = atom();
      if (!found) continue;  // a comment
      text += found->ends_branch ? found->text : repeated(*found);
    }
    return text;
  }

  // With option x, white space and comments between the parts of a pattern mean nothing.
  void skip_blanks() {
    if (!options_.extended) return;
    while (!cursor_.at_end()) {
      if (cursor_.next_is("#")) {
        const auto end = cursor_.rest().find('\n');
        cursor_.skip(end == std::string_view::npos ? cursor_.rest().size() : end + 1);
      } else if (std::string_view(" \t\n\r\f").find(cursor_.rest().front()) != std::string_view::npos) {
        cursor_.skip(1);
      } else {
        return;
      }
    }
  }

  std::optional<Atom> atom() {
    if (cursor_.take("(")) return group();
    if (read_repeat(cursor_)) cursor_.refuse("a repeat of nothing");
    if (cursor_.take("[")) return plain(translate_class(cursor_, options_.ignore_case));
    if (cursor_.take(".")) return plain(options_.dot_matches_newline ? "(?s:.)" : "\\N");
    if (cursor_.take("^")) return anchor("^");
    if (cursor_.take("$")) return anchor("$");
    if (cursor_.take("\\")) return escape();
    return character(cursor_.take_character());
  }

  Atom plain(std::string text) {
    folded_.clear();
    return {std::move(text)};
  }

  Atom anchor(std::string text) {
    folded_.clear();
    return {std::move(text), false};
  }

  // Where case is ignored, Oniguruma lets letters that follow one another match one character: ss matches ß.
  Atom character(char32_t point) {
    if (options_.ignore_case) {
      folded_ += case_folded(point);
      for (const auto& wide : wide_foldings()) {
        if (!folded_.ends_with(wide.folded)) continue;
        std::string one;
        append_utf8(one, wide.point);
        cursor_.refuse(fmt::format("letters that equal one ({} = {}) where case is ignored", wide.folded, one));
      }
    }
    return {literal(point)};
  }

  Atom escape() {
    if (cursor_.at_end()) cursor_.refuse("a backslash at the end");
    if (const auto set = read_set_escape(cursor_)) return plain(written(*set));
    const auto word = fmt::format("[{}]", kWordEscape);
    if (cursor_.take("b")) return anchor(fmt::format("(?:(?<={0})(?!{0})|(?<!{0})(?={0}))", word));
    if (cursor_.take("B")) return anchor(fmt::format("(?:(?<={0})(?={0})|(?<!{0})(?!{0}))", word));
    for (const auto* const end : {"A", "Z", "z"}) {
      if (cursor_.take(end)) return anchor(fmt::format("\\{}", end));
    }
    if (cursor_.take("R")) return plain(R"((?>\r\n|[\n-\r\x{85}\x{2028}\x{2029}]))");
    if (cursor_.take("N")) return plain("\\N");
    if (cursor_.take("O")) return plain("(?s:.)");
    if (cursor_.take("k")) return named_reference();
    for (const auto* const other : {"g", "K", "G", "X", "y", "Y"}) {
      if (cursor_.next_is(other)) cursor_.refuse(fmt::format("\\{}", other));
    }
    if (const char digit = cursor_.rest().front(); digit >= '1' && digit <= '9') return reference();
    return character(read_character_escape(cursor_));
  }

  Atom reference() {
    if (has_names_) cursor_.refuse("a numbered reference beside named groups");
    const auto number = static_cast<std::uint32_t>(cursor_.take_number(10, 3, "a reference"));
    if (number > 9) cursor_.refuse("a reference or an octal number of several digits");
    return checked_reference(fmt::format("\\g{{{}}}", number));
  }

  Atom named_reference() {
    const auto name = group_name("a reference without a name");
    return checked_reference(fmt::format("\\k<{}>", name));
  }

  Atom checked_reference(std::string text) {
    if (options_.ignore_case) cursor_.refuse("a reference where case is ignored");
    return plain(std::move(text));
  }

  // <name> or 'name', of ASCII letters, digits and _, as PCRE2 has them.
  std::string group_name(std::string_view otherwise) {
    const char close = cursor_.next_is("<") ? '>' : '\'';
    if (!cursor_.take("<") && !cursor_.take("'")) cursor_.refuse(otherwise);
    std::string name;
    for (auto point = cursor_.take_character(); point != static_cast<char32_t>(close);
         point = cursor_.take_character()) {
      const bool is_letter = (point >= 'A' && point <= 'Z') || (point >= 'a' && point <= 'z') || point == '_';
      const bool is_digit = point >= '0' && point <= '9';
      if (!is_letter && !(is_digit && !name.empty())) cursor_.refuse("an unusual group name");
      name.push_back(static_cast<char>(point));
    }
    if (name.empty()) cursor_.refuse(otherwise);
    return name;
  }

  std::optional<Atom> group() {
    if (!cursor_.take("?")) return Atom{enclosed(has_names_ ? "(?:" : "(")};
    if (cursor_.take("#")) {
      comment();
      return std::nullopt;
    }
    for (const auto* const lookaround : {"=", "!", "<=", "<!"}) {
      if (cursor_.take(lookaround)) return Atom{enclosed(fmt::format("(?{}", lookaround)), false};
    }
    for (const auto* const kind : {":", ">"}) {
      if (cursor_.take(kind)) return Atom{enclosed(fmt::format("(?{}", kind))};
    }
    if (cursor_.next_is("<") || cursor_.next_is("'")) {
      return Atom{enclosed(fmt::format("(?<{}>", group_name("a group without a name")))};
    }
    return options_group();
  }

  // (?#...): a backslash hides the next character.
  void comment() {
    while (!cursor_.take(")")) {
      if (cursor_.take_character() == '\\') cursor_.take_character();
    }
  }

  // (?imx-imx) holds up to the end of the enclosing group, and takes in all alternatives up to there: a(?i)b|c is
  // a(?i:b|c).
  Atom options_group() {
    const auto before = options_;
    for (bool on = true; !cursor_.next_is(")") && !cursor_.next_is(":");) {
      if (cursor_.take("-")) {
        on = false;
      } else if (cursor_.take("i")) {
        options_.ignore_case = on;
      } else if (cursor_.take("m")) {
        options_.dot_matches_newline = on;
      } else if (cursor_.take("x")) {
        options_.extended = on;
      } else {
        cursor_.refuse("a group of another kind than (?:, (?=, (?!, (?<=, (?<!, (?>, (?<name> and options imx");
      }
    }
    const bool is_group = cursor_.next_is(":");
    cursor_.skip(1);
    Atom found;
    if (is_group) {
      found.text = enclosed(opening());
    } else {
      deepen();
      folded_.clear();
      found.text = opening() + alternatives() + ")";
      --depth_;
      found.ends_branch = true;
    }
    options_ = before;
    folded_.clear();
    return found;
  }

  std::string opening() const { return options_.ignore_case ? "(?i:" : "(?-i:"; }

  // Letters before, within and after a group that does not capture follow one another.
  std::string enclosed(const std::string& open) {
    deepen();
    const auto before = options_;
    auto text = open + alternatives();
    options_ = before;
    if (!cursor_.take(")")) cursor_.refuse("a missing closing parenthesis");
    --depth_;
    return text + ")";
  }

  void deepen() {
    if (++depth_ > kDeepest) cursor_.refuse("groups nested too deeply");
  }

  // Several quantifiers in a row repeat what the ones before them made.
  std::string repeated(const Atom& found) {
    auto text = found.text;
    bool is_repeated = false, was_greedy = true;
    for (skip_blanks();; skip_blanks()) {
      const auto next = read_repeat(cursor_);
      if (!next) return text;
      if (!found.repeatable) cursor_.refuse("a repeat of an anchor or a lookaround");
      if (is_repeated && !(was_greedy && next->greedy)) cursor_.refuse("lazy or possessive repeats in a row");
      text = (is_repeated ? fmt::format("(?:{})", text) : text) + next->text;
      was_greedy = next->greedy;
      is_repeated = true;
    }
  }

  RegexCursor cursor_;
  bool has_names_;  // then groups without a name do not capture
  Options options_;
  int depth_ = 0;
  std::string folded_;  // the letters just before, folded, where case is ignored
};

}  // namespace

std::string to_pcre2(std::string_view pattern) { return Translator(pattern).run(); }

}  // namespace normtweak::text
