#include <gtest/gtest.h>

#include "normtweak/base/error.h"
#include "normtweak/text/regex.h"
#include "normtweak/text/regex_syntax.h"
#include "normtweak/text/split.h"
#include "support/temporary_folder.h"
#include "text/oracle.h"

namespace normtweak::tests {
namespace {

using namespace text;

std::vector<std::string> matches(const Regex& regex, std::string_view text) {
  std::vector<Span> spans;
  regex.find_all(text, spans);
  std::vector<std::string> found;
  for (const auto span : spans) found.emplace_back(slice(text, span));
  return found;
}

using Strings = std::vector<std::string>;

Strings pieces(std::string_view text, const Regex& regex, SplitBehavior behavior) {
  std::vector<std::string_view> found;
  split(text, {regex, behavior}, found);
  return {found.begin(), found.end()};
}

TEST(Regex, FindsAllMatches) {
  EXPECT_EQ(matches(Regex(R"(\p{L}+)"), "añb 12 日本"), (Strings{"añb", "日本"}));
  EXPECT_EQ(matches(Regex(R"(a*)"), "baac"), (Strings{"", "aa", ""}));
  EXPECT_EQ(matches(Regex("x"), ""), Strings{});
  EXPECT_EQ(matches(Regex::literal("a.b"), "axb a.b"), Strings{"a.b"});
}

TEST(Regex, LinesEndWithNewlinesOnly) {
  EXPECT_EQ(matches(Regex("^."), "a\nb\rc"), (Strings{"a", "b"}));
  EXPECT_EQ(matches(Regex(".$"), "a\r\nb"), (Strings{"\r", "b"}));
}

TEST(Regex, LongTextDoesNotExhaustTheStack) {
  const std::string text(1'000'000, 'a');
  EXPECT_EQ(matches(Regex("(?:a|b|ab)+"), text), Strings{text});
  EXPECT_EQ(matches(Regex(R"(\s+(?!\S)|\s+)"), std::string(1'000'000, ' ') + "x").size(), 2U);
}

// Too long for the compiler's stack; and each step back keeps all groups, 32 kB of them.
TEST(Regex, MemoryThatAMatchTakesIsLimited) {
  std::string pattern = "(?:(a)";
  for (int i = 0; i < 2000; ++i) pattern += "|(b)";
  const Regex regex(pattern + ")+$");
  const auto message = message_of<Error>([&] { matches(regex, std::string(1'000'000, 'a') + "c"); });
  EXPECT_NE(message.find("gave up on a text of 1000001 bytes: heap limit exceeded"), std::string::npos) << message;
}

// Every element of Oniguruma's syntax: the pieces that the `tokenizers` package makes, or an error, never other pieces.
TEST(RegexSyntax, SplitsAsOnigurumaOrIsRefused) {
  const auto oracle = read_oracle("regexes.json");
  const auto texts = oracle["texts"].get<Strings>();
  int same = 0, refused = 0;
  for (const auto& row : oracle["cases"]) {
    if (row["splits"].is_null()) continue;  // Oniguruma refuses it
    const auto pattern = row["pattern"].get<std::string>();
    try {
      const Regex regex(pattern);
      for (std::size_t i = 0; i < texts.size(); ++i) {
        const auto &isolated = row["splits"][i][0], &others = row["splits"][i][1];
        ASSERT_EQ(pieces(texts[i], regex, SplitBehavior::isolated), isolated.get<Strings>())
            << pattern << ", text " << i;
        ASSERT_EQ(pieces(texts[i], regex, SplitBehavior::removed), others.get<Strings>()) << pattern << ", text " << i;
      }
      ++same;
    } catch (const Error& error) {
      ++refused;
      EXPECT_FALSE(row["met"].get<bool>()) << error.what();
      EXPECT_LT(std::string_view(error.what()).size(), 250U) << error.what();
    }
  }
  EXPECT_GT(same, 1000);
  EXPECT_LT(refused, 130);  // \X, \K, calls, absent operators and what else regex_syntax.h names
}

TEST(RegexSyntax, WhatCannotBeTranslatedIsNamed) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {R"(a\Kb)", R"(the regex has \K before byte 2; it cannot be translated for PCRE2)"},
      {"(?i:Strasse)",
       "the regex has letters that equal one (st = ﬅ) where case is ignored before byte 6; it cannot be translated "
       "for "
       "PCRE2"},
      {R"(\p{Hex_Digit})", R"(the regex \p{Hex_Digit} does not compile: unknown property after \P or \p)"},
      {"(?<=a+)b", "the regex (?<=a+)b does not compile: lookbehind assertion is not fixed length"},
      {"a(b", "the regex has a missing closing parenthesis before byte 3; it cannot be translated for PCRE2"},
  };
  for (const auto& [pattern, message] : cases) {
    const std::string_view shown = pattern;
    EXPECT_EQ(message_of<Error>([&] { Regex{shown}; }), message);
  }
}

TEST(RegexSyntax, DepthIsLimited) {
  for (const auto* const open : {"(", "(?i)", "[", "(?="}) {
    std::string pattern;
    for (int i = 0; i < 100'000; ++i) pattern += open;
    EXPECT_THROW(to_pcre2(pattern + "a"), Error) << open;
  }
}

}  // namespace
}  // namespace normtweak::tests
