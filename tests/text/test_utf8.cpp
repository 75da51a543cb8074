#include <gtest/gtest.h>

#include "normtweak/text/byte_level.h"
#include "normtweak/text/utf8.h"

namespace normtweak::tests {
namespace {

using namespace text;

TEST(Utf8, WritesWhatItReads) {
  for (const char32_t point :
       {0x0U, 0x41U, 0x7FU, 0x80U, 0x7FFU, 0x800U, 0xD7FFU, 0xE000U, 0xFFFFU, 0x10000U, 0x10FFFFU}) {
    std::string text = "x";
    append_utf8(text, point);
    const auto read = code_point_at(text, 1);
    EXPECT_TRUE(read.valid);
    EXPECT_EQ(read.value, point);
    EXPECT_EQ(read.length, text.size() - 1);
  }
}

TEST(Utf8, ValidTextIsNotCopied) {
  const std::string text = "naïve 日本 \U0001F600";
  std::string storage;
  EXPECT_EQ(valid_utf8(text, storage).data(), text.data());
}

TEST(ByteLevel, EveryByteHasACharacterOfItsOwn) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  EXPECT_EQ(from_byte_level(to_byte_level(all)), all);
  EXPECT_EQ(to_byte_level(" \n~\xAD"), "\u0120\u010A~\u0143");
  EXPECT_EQ(from_byte_level("日本"), std::nullopt);
  EXPECT_EQ(from_byte_level("a b"), std::nullopt);
}

}  // namespace
}  // namespace normtweak::tests
