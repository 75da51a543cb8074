// Messages: one short line, whatever they quote.
#include <gtest/gtest.h>

#include "normtweak/base/error.h"
#include "normtweak/base/json/json.h"
#include "normtweak/base/strings/one_line.h"
#include "normtweak/base/strings/utf8.h"

namespace normtweak {
namespace {

bool is_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto point = code_point_at(text, at);
    if (!point.valid) return false;
    at += point.length;
  }
  return true;
}

std::string repeated(std::string_view text, std::size_t bytes) {
  std::string all;
  while (all.size() < bytes) all += text;
  return all;
}

TEST(OneLine, SpellsOutWhatIsNoText) {
  struct Row {
    std::string_view text, expected;
  };
  using namespace std::string_view_literals;
  const Row rows[] = {
      {"größer, 日本, 🙂", "größer, 日本, 🙂"},
      {"a\nb\t\x1b[2J\x7f\0z"sv, R"(a\nb\t\x1b[2J\x7f\x00z)"},
      {"a\r\vb", R"(a\x0d\x0bb)"},
      {"\xff, \xc3", R"(\xff, \xc3)"},                                // no sequence, half a sequence
      {"\xc0\xaf \xed\xa0\x80", R"(\xc0\xaf \xed\xa0\x80)"},          // overlong, a surrogate
      {"\xc2\x85 \xc2\x9b \xe2\x80\xa8", R"(\u0085 \u009b \u2028)"},  // lines end here, CSI
      {"\xe2\x80\xae \xe2\x81\xa6", R"(\u202e \u2066)"},              // turn the direction of what follows
  };
  for (const auto& [text, expected] : rows) EXPECT_EQ(one_line(text), expected);
}

TEST(OneLine, KeepsTheBeginningTheFileAndTheAdvice) {
  const auto path = "/home/a/" + repeated("folder/", 90) + "config.json";
  for (const auto& value : {repeated("x", 1'000'000), repeated("x y ", 1'000'000), repeated("/usr/lib", 1'000'000),
                            repeated("日本", 1'000'000), repeated("日 ", 1'000'000), repeated("\xff", 1'000'000),
                            repeated("\n", 1'000'000)}) {
    const auto line = one_line(fmt::format("{}: `hidden_size` is {}, a whole number is needed", path, value));
    EXPECT_LE(line.size(), kLongestLine);
    EXPECT_TRUE(is_utf8(line));
    EXPECT_TRUE(line.starts_with(path + ": `hidden_size` is ")) << line;
    EXPECT_TRUE(line.ends_with(", a whole number is needed")) << line;
    EXPECT_NE(line.find("…"), std::string::npos);
  }
}

TEST(OneLine, KeepsTheNamesOfFilesInLongPaths) {
  const auto folder = fmt::format("/{}", repeated("a-folder/", 400));
  const auto line = one_line(fmt::format("{0}one.gguf: is no quantization of {0}two.gguf; give another", folder));
  EXPECT_LE(line.size(), kLongestLine);
  for (const auto* part : {"/a-folder/", "/one.gguf: is no quantization of /", "/two.gguf; give another"}) {
    EXPECT_NE(line.find(part), std::string::npos) << line;
  }
}

TEST(OneLine, WhatFitsIsLeftAsItIs) {
  const auto line = repeated("x", kLongestLine);
  EXPECT_EQ(one_line(line), line);
  EXPECT_EQ(one_line(line + "x").size(), kLongestLine);
  EXPECT_EQ(one_line(""), "");
  EXPECT_EQ(one_line(" a  b "), " a  b ");
}

TEST(OneLine, EveryErrorIsOne) {
  const auto value = Json(repeated("long ", 1'000'000));
  EXPECT_LE(show(value).size(), kLongestValue);
  EXPECT_TRUE(show(value).starts_with("\"long ") && show(value).ends_with("long \"")) << show(value);
  EXPECT_EQ(std::string(Error("a\xff\n" + repeated("x", 1'000'000) + " end").what()).substr(0, 9), R"(a\xff\nxx)");
  EXPECT_LE(std::string(UsageError(repeated("many words ", 1'000'000)).what()).size(), kLongestLine);
}

}  // namespace
}  // namespace normtweak
