#include <gtest/gtest.h>

#include "normtweak/base/error.h"
#include "normtweak/text/regex.h"
#include "normtweak/text/regex_syntax.h"
#include "support/temporary_folder.h"

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

TEST(RegexSyntax, IsRewritten) {
  EXPECT_EQ(to_pcre2(R"(\s[^\s\S]\\s)"), R"(\p{White_Space}[^\p{White_Space}\P{White_Space}]\\s)");
  EXPECT_EQ(to_pcre2("[a[bc]d]e]"), "[abcd]e]");
  EXPECT_EQ(to_pcre2("[]a][^]b]"), R"([\]a][^\]b])");
  EXPECT_EQ(to_pcre2(R"([[:alpha:]\[])"), R"([[:alpha:]\[])");
}

TEST(RegexSyntax, WhatCannotBeExpressedIsRefused) {
  for (const auto* const pattern : {R"([\p{L}&&[^a]])", "[a[^b]]", R"(\h)", R"([\W])"}) {
    EXPECT_THROW(to_pcre2(pattern), Error) << pattern;
  }
}

TEST(Regex, SaysWhatDoesNotCompile) {
  EXPECT_EQ(message_of<Error>([] { Regex("a(b"); }),
            "the regex a(b does not compile: missing closing parenthesis at byte 3");
}

}  // namespace
}  // namespace normtweak::tests
