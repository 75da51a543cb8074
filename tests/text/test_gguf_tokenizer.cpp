// Tokenizers rewritten from GGUF metadata give the ids of the tokenizers that the metadata was made of.
#include <gtest/gtest.h>

#include <fstream>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"
#include "normtweak/text/gguf_tokenizer.h"
#include "support/temporary_folder.h"
#include "text/oracle.h"

namespace normtweak::tests {
namespace {

void write_json(const std::filesystem::path& path, const Json& document) {
  write_file_atomically(path, [&](std::ostream& out) { out << document.dump(); });
}

// Left for test_from_gguf.py, too, which opens it with other programs.
void write_model_folder(const std::string& name, const Json& tokenizer, const Json& config) {
  const auto* folder = std::getenv("NORMTWEAK_TEXT_FROM_GGUF");
  if (folder == nullptr) return;
  const auto target = std::filesystem::path(folder) / name;
  write_json(target / "tokenizer.json", tokenizer);
  write_json(target / "tokenizer_config.json", config);
  write_json(target / "config.json", {{"model_type", "llama"}, {"architectures", {"LlamaForCausalLM"}}});
}

TEST(GgufTokenizer, GivesTheSameIds) {
  const auto lines = read_oracle("lines.json").get<std::vector<std::string>>();
  for (const auto& name : read_oracle("names.json")["gguf"].get<std::vector<std::string>>()) {
    const auto metadata = read_oracle(name + ".gguf.json");
    const auto document = text::tokenizer_json_from_gguf(metadata, name);
    write_model_folder(name, document, text::tokenizer_config_from_gguf(metadata, name));
    const text::Tokenizer tokenizer(document, name);
    const auto expected = read_oracle(name + ".expected.json");
    EXPECT_EQ(tokenizer.size(), expected["size"]) << name;
    for (std::size_t i = 0; i < lines.size(); ++i) {
      ASSERT_EQ(tokenizer.encode(lines[i], true), expected["marked"][i].get<Ids>()) << name << ", line " << i;
    }
  }
}

// Without a name, the rules are those of "default".
TEST(GgufTokenizer, AMissingNameIsTheDefault) {
  auto metadata = read_oracle("default.gguf.json");
  metadata.erase("tokenizer.ggml.pre");
  const text::Tokenizer tokenizer(text::tokenizer_json_from_gguf(metadata, "m.gguf"), "m.gguf");
  const auto lines = read_oracle("lines.json").get<std::vector<std::string>>();
  const auto expected = read_oracle("default.expected.json")["plain"];
  for (std::size_t i = 0; i < 2000; ++i) ASSERT_EQ(tokenizer.encode(lines[i], false), expected[i].get<Ids>()) << i;
}

TEST(GgufTokenizer, ConfigNamesWhatTheFileNames) {
  const auto config = text::tokenizer_config_from_gguf(read_oracle("llama3.gguf.json"), "m.gguf");
  EXPECT_EQ(config["tokenizer_class"], "PreTrainedTokenizerFast");
  EXPECT_EQ(config["bos_token"], "<|im_start|>");
  EXPECT_EQ(config["eos_token"], "<|im_end|>");
  EXPECT_EQ(config["unk_token"], "<|endoftext|>");
  EXPECT_FALSE(config.contains("pad_token"));
  EXPECT_EQ(config["model_max_length"], 512);
  EXPECT_EQ(config["add_bos_token"], true);
  EXPECT_TRUE(config["chat_template"].get<std::string>().starts_with("{% for"));
}

TEST(GgufTokenizer, TheFileDecidesOnBosAndEos) {
  auto metadata = read_oracle("llama3.gguf.json");
  metadata["tokenizer.ggml.add_bos_token"] = false;
  metadata["tokenizer.ggml.add_eos_token"] = true;
  const text::Tokenizer tokenizer(text::tokenizer_json_from_gguf(metadata, "m.gguf"), "m.gguf");
  EXPECT_TRUE(tokenizer.prefix().empty());
  EXPECT_EQ(tokenizer.encode("", true), Ids{2});
}

struct Case {
  std::string_view patch, message;
};

// What a file does not say is assumed as llama.cpp does, and said.
TEST(GgufTokenizer, WhatIsAssumedIsNoted) {
  const Case cases[] = {
      {R"({"tokenizer.ggml.pre": null})",
       "m.gguf: tokenizer.ggml.pre is missing; llama.cpp's default rules are assumed"},
      {R"({"tokenizer.ggml.pre": "default"})", "m.gguf: tokenizer.ggml.pre is \"default\"; llama.cpp's default rules"},
      {R"({"tokenizer.ggml.add_bos_token": null})",
       "m.gguf: tokenizer.ggml.add_bos_token is missing; as in llama.cpp, texts are assumed to start with the BOS "
       "token"},
      {R"({"tokenizer.ggml.pre": "qwen2", "tokenizer.ggml.add_bos_token": null})",
       "m.gguf: tokenizer.ggml.add_bos_token is missing; as in llama.cpp, texts are assumed to start without the BOS"},
      {R"({"tokenizer.ggml.token_type": null})",
       "m.gguf: tokenizer.ggml.token_type is missing; no token is taken for a special one"},
      {R"({"tokenizer.ggml.add_bos_token": null, "tokenizer.ggml.bos_token_id": null})", ""},
  };
  for (const auto& [patch, message] : cases) {
    auto metadata = read_oracle("llama3.gguf.json");
    metadata["tokenizer.ggml.add_bos_token"] = true;
    metadata.merge_patch(parse_json(patch, "a patch"));
    const auto notes = text::gguf_tokenizer_notes(metadata, "m.gguf");
    ASSERT_EQ(notes.size(), message.empty() ? 0U : 1U) << patch;
    EXPECT_TRUE(notes.empty() || notes[0].starts_with(message)) << notes[0];
  }
}

TEST(GgufTokenizer, WhatIsNotSupportedIsNamed) {
  const Case cases[] = {
      {R"({"tokenizer.ggml.model": null})", "tokenizer.ggml.model: is missing; the file holds no tokenizer"},
      {R"({"tokenizer.ggml.model": "bert"})",
       "tokenizer.ggml.model: bert (WordPiece) is not supported; gpt2 (byte-level BPE), llama (SentencePiece) and t5 "
       "(Unigram) are"},
      {R"({"tokenizer.ggml.model": "rwkv"})",
       "tokenizer.ggml.model: rwkv (RWKV's World) is not supported; gpt2 (byte-level BPE), llama (SentencePiece) and "
       "t5 "
       "(Unigram) are"},
      {R"({"tokenizer.ggml.model": "plamo2"})",
       "tokenizer.ggml.model: plamo2 (PLaMo 2's Unigram of bytes) is not supported; gpt2 (byte-level BPE), llama "
       "(SentencePiece) and t5 "
       "(Unigram) are"},
      {R"({"tokenizer.ggml.model": "other"})",
       "tokenizer.ggml.model: other is not supported; gpt2 (byte-level BPE), llama (SentencePiece) and t5 "
       "(Unigram) are"},
      {R"({"tokenizer.ggml.model": "none"})", "tokenizer.ggml.model: none: the file holds no tokenizer"},
      {R"({"tokenizer.ggml.model": "llama"})", "tokenizer.ggml.scores: 0 scores for 2008 tokens"},
      {R"({"tokenizer.ggml.model": "llama", "tokenizer.ggml.scores": ["x"]})",
       "tokenizer.ggml.scores[0]: expected a number, found string"},
      {R"({"tokenizer.ggml.model": "t5", "tokenizer.ggml.remove_extra_whitespaces": false})",
       "tokenizer.ggml.scores: 0 scores for 2008 tokens"},
      {R"({"tokenizer.ggml.tokens": null})", "tokenizer.ggml.tokens: is missing or empty"},
      {R"({"tokenizer.ggml.tokens": ["a", "b", "a"]})", "tokenizer.ggml.tokens[2]: the token a stands at 0 already"},
      {R"({"tokenizer.ggml.merges": null})", "tokenizer.ggml.merges: is missing"},
      {R"({"tokenizer.ggml.bos_token_id": 99999})", "tokenizer.ggml.bos_token_id: 99999 is not an id"},
      {R"({"tokenizer.ggml.token_type": [1, 2]})", "tokenizer.ggml.token_type: 2 types for"},
      {R"({"tokenizer.ggml.pre": "odd"})", "tokenizer.ggml.pre: odd is not supported; these are: default, gpt-2"},
  };
  for (const auto& [patch, message] : cases) {
    auto metadata = read_oracle("llama3.gguf.json");
    metadata.merge_patch(parse_json(patch, "a patch"));
    const auto found = message_of<Error>([&] { text::tokenizer_json_from_gguf(metadata, "m.gguf"); });
    EXPECT_TRUE(found.starts_with("m.gguf: " + std::string(message))) << found;
  }
}

}  // namespace
}  // namespace normtweak::tests
