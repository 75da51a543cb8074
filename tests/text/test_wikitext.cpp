// The known number of tokens of WikiText-2's test set, where it and the real tokenizer are at hand:
//     NORMTWEAK_TEST_DATA  the folder that holds wikitext-2-raw/wiki.test.raw
//     NORMTWEAK_TEST_GGUF  SmolLM2-135M-Instruct as a .gguf file
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "normtweak/formats/gguf.h"
#include "normtweak/text/corpus.h"
#include "normtweak/text/gguf_tokenizer.h"
#include "normtweak/text/tokenizer.h"

namespace normtweak::tests {
namespace {

TEST(WikiText, HasTheKnownNumberOfTokens) {
  const auto *data = std::getenv("NORMTWEAK_TEST_DATA"), *gguf = std::getenv("NORMTWEAK_TEST_GGUF");
  if (data == nullptr || gguf == nullptr) GTEST_SKIP() << "set NORMTWEAK_TEST_DATA and NORMTWEAK_TEST_GGUF";
  const auto rows = std::filesystem::path(data) / "wikitext-2-raw" / "wiki.test.raw";
  if (!std::filesystem::exists(rows)) GTEST_SKIP() << rows << " is not there";

  const formats::GgufFile file{std::filesystem::path(gguf)};
  const text::Tokenizer tokenizer(text::tokenizer_json_from_gguf(file.metadata_with_arrays("tokenizer."), gguf), gguf);
  const auto corpus = text::read_rows(rows);
  const auto ids = tokenizer.encode(corpus.text, true);
  EXPECT_EQ(ids.size(), 304'978U);  // counted by the `tokenizers` package
  EXPECT_EQ(tokenizer.decode(ids, false), corpus.text);
}

}  // namespace
}  // namespace normtweak::tests
