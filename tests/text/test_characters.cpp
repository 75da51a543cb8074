#include <gtest/gtest.h>

#include "normtweak/text/characters.h"

namespace normtweak::tests {
namespace {

using namespace text;

TEST(Characters, WhiteSpaceAtBothEnds) {
  EXPECT_EQ(leading_white_space("\t\u3000 a "), 5U);
  EXPECT_EQ(trailing_white_space(" a \u00a0\n"), 4U);
  EXPECT_EQ(leading_white_space(""), 0U);
  EXPECT_EQ(trailing_white_space("\u2003\u2003"), 6U);
  EXPECT_EQ(leading_white_space("\u180e"), 0U);  // was white space before Unicode 6.3
}

TEST(Characters, Words) {
  EXPECT_TRUE(ends_with_word("日本"));
  EXPECT_TRUE(starts_with_word("_"));
  EXPECT_TRUE(starts_with_word("\u0301"));
  EXPECT_TRUE(starts_with_word("Ⓐ"));
  EXPECT_FALSE(starts_with_word("½"));
  EXPECT_FALSE(ends_with_word("a "));
  EXPECT_FALSE(ends_with_word(""));
}

TEST(Characters, BlankAsPythonStrips) {
  EXPECT_TRUE(is_blank(""));
  EXPECT_TRUE(is_blank(" \t\r\x1c\x1f\u0085\u2028"));
  EXPECT_FALSE(is_blank("\u200b"));
  EXPECT_FALSE(is_blank("\xff"));
}

}  // namespace
}  // namespace normtweak::tests
