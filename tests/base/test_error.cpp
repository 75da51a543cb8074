#include <gtest/gtest.h>

#include "normtweak/base/error.h"

namespace normtweak {
namespace {

TEST(Error, StaysOneLineWhateverItQuotes) {
  const std::string name("a\nb\t\x1b[2J\x7f\0z", 11);
  try {
    fail("model.gguf: tensor {} is damaged", name);
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), R"(model.gguf: tensor a\nb\t\x1b[2J\x7f\x00z is damaged)");
  }
}

TEST(Error, KeepsOtherText) { EXPECT_STREQ(Error("größer, 日本, \xff").what(), "größer, 日本, \xff"); }

}  // namespace
}  // namespace normtweak
