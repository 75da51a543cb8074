#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "normtweak/base/error.h"
#include "normtweak/calibrate/languages.h"
#include "support/temporary_folder.h"

namespace normtweak::calibrate {
namespace {

// How GPT-2's byte-level alphabet spells bytes: printable ones of Latin-1 as themselves, the others as U+0100 and on.
std::string spelled(std::string_view bytes) {
  std::string all;
  int others = 0, alphabet[256];
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    alphabet[byte] = printable ? byte : 0x100 + others++;
  }
  for (const auto c : bytes) {
    const int point = alphabet[static_cast<unsigned char>(c)];
    if (point < 0x80) {
      all += static_cast<char>(point);
    } else {
      all += static_cast<char>(0xC0 | point >> 6);
      all += static_cast<char>(0x80 | (point & 0x3F));
    }
  }
  return all;
}

// Tokens and the language each can start a text in; no code: none of those asked for below.
const std::vector<std::pair<std::string, std::string>> kTokens = {
    {" The", "en"},  {" A", "en"},     {" the", ""},   {"The", ""},  {" NASA", ""},      {" The2", ""},
    {" Für", "de"},  {" Je", "en"},    {" Как", "ru"}, {"Как", ""},  {" їжак", "ru uk"}, {"我", "zh"},
    {" 我们", "zh"}, {"我a", ""},      {"こ", "ja"},   {"カ", "ja"}, {"한국", "ko"},     {" Και", "el"},
    {"नमस्ते", "hi"},  {"\xE6\x88", ""}, {"\xFF", ""},   {" ", ""},    {".", ""},          {"مرحبا", "ar"},
    {"שלום", "he"},  {"ไทย", "th"},
};

text::Tokenizer small_tokenizer() {
  Json vocabulary = Json::object();
  for (std::size_t i = 0; i < kTokens.size(); ++i) vocabulary[spelled(kTokens[i].first)] = i;
  const Json special = {{"id", kTokens.size()}, {"content", " Stop"},  {"single_word", false}, {"lstrip", false},
                        {"rstrip", false},      {"normalized", false}, {"special", true}};
  return text::Tokenizer({{"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", Json::array()}}},
                          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
                          {"decoder", {{"type", "ByteLevel"}}},
                          {"added_tokens", {special}}},
                         "tokenizer.json");
}

TEST(Languages, AreToldApartByTheirWholeTokens) {
  const auto tokenizer = small_tokenizer();
  for (const std::string code : {"en", "de", "ru", "uk", "zh", "ja", "ko", "el", "hi", "ar", "he", "th"}) {
    const auto found = tokens_of_languages(tokenizer, {code});
    for (std::size_t i = 0; i < kTokens.size(); ++i) {
      const bool expected = kTokens[i].second.find(code) != std::string::npos;
      EXPECT_EQ(std::ranges::count(found, static_cast<std::int64_t>(i)), expected ? 1 : 0)
          << code << ": '" << kTokens[i].first << "'";
    }
    EXPECT_FALSE(std::ranges::count(found, static_cast<std::int64_t>(kTokens.size()))) << "a special token";
  }
}

TEST(Languages, SeveralCodesGiveEachTokenOnce) {
  const auto tokenizer = small_tokenizer();
  auto found = tokens_of_languages(tokenizer, {"uk", "ru", "ru"});
  EXPECT_EQ(found.size(), 2U);
  EXPECT_TRUE(std::ranges::is_sorted(found));
  EXPECT_TRUE(tokens_of_languages(tokenizer, {}).empty());
}

TEST(Languages, AnUnknownCodeListsTheKnown) {
  const auto tokenizer = small_tokenizer();
  const auto message = tests::message_of<Error>([&] { tokens_of_languages(tokenizer, {"en", "xx"}); });
  EXPECT_NE(message.find("xx"), std::string::npos);
  for (const auto code : language_codes()) {
    EXPECT_NE(message.find(code), std::string::npos);
    EXPECT_NO_THROW(tokens_of_languages(tokenizer, {std::string(code)}));  // its pattern compiles
  }
}

TEST(Languages, OrdinaryTokensAreWholeCharactersAndNotSpecial) {
  const auto tokenizer = small_tokenizer();
  const auto ordinary = ordinary_tokens(tokenizer);
  EXPECT_EQ(ordinary.size(), kTokens.size() - 2);  // without the piece of a character and the byte that is no UTF-8
  EXPECT_EQ(special_tokens(tokenizer), std::vector<std::int64_t>{static_cast<std::int64_t>(kTokens.size())});
}

}  // namespace
}  // namespace normtweak::calibrate
