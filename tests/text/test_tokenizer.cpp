// Every line of the oracle, through every tokenizer: the same ids and the same text as the `tokenizers` package.
#include <gtest/gtest.h>

#include <thread>

#include "normtweak/text/tokenizer.h"
#include "normtweak/text/utf8.h"
#include "text/oracle.h"

namespace normtweak::tests {
namespace {

// As Python's decode shows bytes.
std::string shown(const std::string& bytes) {
  std::string storage;
  return std::string(text::valid_utf8(bytes, storage));
}

std::vector<std::string> names() { return read_oracle("names.json")["all"].get<std::vector<std::string>>(); }

// A line is not printed whole: some are very long.
std::string brief(const std::string& line) {
  return Json(line.substr(0, 200)).dump(-1, ' ', true, Json::error_handler_t::replace);
}

TEST(Tokenizer, EncodesAsTheTokenizersPackage) {
  const auto lines = read_oracle("lines.json").get<std::vector<std::string>>();
  ASSERT_GE(lines.size(), 10'000U);
  for (const auto& name : names()) {
    const auto tokenizer = open_tokenizer(name);
    const auto expected = read_oracle(name + ".expected.json");
    const auto &plain = expected["plain"], &marked = expected["marked"];
    int failures = 0;
    for (std::size_t i = 0; i < plain.size() && failures < 5; ++i) {
      const bool same = tokenizer.encode(lines[i], false) == plain[i].get<Ids>() &&
                        tokenizer.encode(lines[i], true) == marked[i].get<Ids>();
      if (same) continue;
      ++failures;
      ADD_FAILURE() << name << ", line " << i << ": " << brief(lines[i]) << "\nexpected "
                    << plain[i].dump().substr(0, 300) << "\nfound    "
                    << Json(tokenizer.encode(lines[i], false)).dump().substr(0, 300);
    }
  }
}

TEST(Tokenizer, TakesSpecialTokensForTextWhereAsked) {
  const auto lines = read_oracle("lines.json").get<std::vector<std::string>>();
  std::size_t different = 0;
  for (const auto& name : names()) {
    const auto tokenizer = open_tokenizer(name);
    const auto expected = read_oracle(name + ".expected.json");
    const auto& spelled = expected["spelled"];
    for (std::size_t i = 0; i < expected["plain"].size(); ++i) {
      const auto at = spelled.find(std::to_string(i));
      const auto& ids = at == spelled.end() ? expected["plain"][i] : *at;
      ASSERT_EQ(tokenizer.encode(lines[i], false, {}, text::SpecialSpellings::as_text), ids.get<Ids>())
          << name << ", line " << i << ": " << brief(lines[i]);
    }
    different += spelled.size();
  }
  EXPECT_GT(different, 100U);
}

TEST(Tokenizer, DecodesAsTheTokenizersPackage) {
  for (const auto& name : names()) {
    const auto tokenizer = open_tokenizer(name);
    const auto expected = read_oracle(name + ".expected.json");
    for (std::size_t i = 0; i < expected["marked"].size(); ++i) {
      auto ids = expected["marked"][i].get<Ids>();
      if (!ids.empty()) ids.erase(ids.begin());
      if (!ids.empty()) ids.pop_back();
      ASSERT_EQ(Json(shown(tokenizer.decode(ids, false))), expected["decoded"][i]) << name << ", line " << i;
      ASSERT_EQ(Json(shown(tokenizer.decode(ids, true))), expected["decoded_for_people"][i]) << name << ", line " << i;
    }
  }
}

TEST(Tokenizer, KnowsItsTokens) {
  const auto tokenizer = open_tokenizer("llama3");
  EXPECT_EQ(tokenizer.size(), read_oracle("llama3.expected.json")["size"]);
  EXPECT_EQ(tokenizer.id_of("<|endoftext|>"), 0);
  EXPECT_EQ(tokenizer.id_of("no such token"), std::nullopt);
  EXPECT_TRUE(tokenizer.is_special(1));
  EXPECT_FALSE(tokenizer.is_special(tokenizer.id_of("foobar").value()));
  EXPECT_EQ(tokenizer.prefix(), Ids{1});
  EXPECT_EQ(tokenizer.bytes_of(tokenizer.id_of("Ġthe").value()), " the");
  EXPECT_EQ(tokenizer.bytes_of(tokenizer.id_of("[two words]").value()), "[two words]");
  EXPECT_TRUE(open_tokenizer("gpt2").prefix().empty());
}

// Embeddings are often padded beyond the tokens, and a model may pick such an id.
TEST(Tokenizer, IdsWithoutATokenDecodeToNothing) {
  const auto tokenizer = open_tokenizer("gpt2");
  EXPECT_EQ(tokenizer.decode({tokenizer.size(), -1, 1'000'000}, false), "");
}

TEST(Tokenizer, TakesMalformedBytesAsReplacementCharacters) {
  const auto tokenizer = open_tokenizer("smollm");
  for (const auto& pair : read_oracle("malformed.json")) {
    const auto hex = pair[0].get<std::string>();
    std::string bytes;
    for (std::size_t i = 0; i < hex.size(); i += 2)
      bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    ASSERT_EQ(shown(bytes), pair[1].get<std::string>()) << hex;
    ASSERT_EQ(tokenizer.encode(bytes, true), tokenizer.encode(pair[1].get<std::string>(), true)) << hex;
  }
}

TEST(Tokenizer, WorksFromSeveralThreads) {
  const auto tokenizer = open_tokenizer("qwen2");
  const auto lines = read_oracle("lines.json").get<std::vector<std::string>>();
  const auto expected = read_oracle("qwen2.expected.json")["plain"];
  std::vector<int> mistakes(4, 0);
  std::vector<std::thread> threads;
  for (std::size_t thread = 0; thread < mistakes.size(); ++thread) {
    threads.emplace_back([&, thread] {
      for (std::size_t i = 200; i < 2000; ++i) {
        if (tokenizer.encode(lines[i], false) != expected[i].get<Ids>()) ++mistakes[thread];
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(mistakes, std::vector<int>(4, 0));
}

}  // namespace
}  // namespace normtweak::tests
