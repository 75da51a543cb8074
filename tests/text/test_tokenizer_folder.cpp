// Folders and GGUF metadata as transformers' AutoTokenizer reads them; see tests/oracles/text_folders.py.
#include <gtest/gtest.h>

#include <map>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"
#include "normtweak/text/gguf_tokenizer.h"
#include "normtweak/text/tokenizer_folder.h"
#include "normtweak/text/utf8.h"
#include "support/temporary_folder.h"
#include "text/oracle.h"

namespace normtweak::tests {
namespace {

namespace fs = std::filesystem;

fs::path folders() {
  const auto* folder = std::getenv("NORMTWEAK_TEXT_FOLDERS");
  return folder == nullptr ? "NORMTWEAK_TEXT_FOLDERS-is-not-set" : folder;
}

// The files of a folder, which the views of a TokenizerFolder are of.
class Files {
 public:
  explicit Files(const fs::path& folder) : origin_(folder.string()) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (entry.path().extension() == ".json" || entry.path().extension() == ".model") {
        contents_[entry.path().filename().string()] = read_file(entry.path());
      }
    }
    model_type_ = parse_json(contents_.at("config.json"), origin_)["model_type"].get<std::string>();
  }

  text::LoadedTokenizer load() const {
    const auto content = [&](const char* name) -> std::optional<std::string_view> {
      const auto found = contents_.find(name);
      return found == contents_.end() ? std::nullopt : std::optional<std::string_view>(found->second);
    };
    return text::load_tokenizer({.tokenizer = content("tokenizer.json").value_or(""),
                                 .sentencepiece = content("tokenizer.model"),
                                 .config = content("tokenizer_config.json"),
                                 .special_tokens_map = content("special_tokens_map.json"),
                                 .added_tokens = content("added_tokens.json"),
                                 .model_type = model_type_,
                                 .tokenizer_class = {},
                                 .origin = origin_});
  }

  std::map<std::string, std::string> contents_;

 private:
  std::string origin_, model_type_;
};

std::vector<std::string> names(const char* kind) {
  return read_json(folders() / "names.json")[kind].get<std::vector<std::string>>();
}

void expect_same(const text::Tokenizer& tokenizer, const std::string& name, const std::vector<std::string>& lines) {
  const auto expected = read_json(folders() / name / "expected.json");
  int failures = 0;
  for (std::size_t i = 0; i < expected["ids"].size() && failures < 5; ++i) {
    const auto ids = expected["ids"][i].get<Ids>();
    const auto bytes = tokenizer.decode(ids, true);
    std::string storage;
    const auto text = text::valid_utf8(bytes, storage);
    if (tokenizer.encode(lines[i], true) == ids && text == expected["texts"][i].get<std::string>()) continue;
    ++failures;
    ADD_FAILURE() << name << ", line " << i << ": " << Json(lines[i].substr(0, 100)).dump(-1, ' ', true)
                  << "\nexpected " << Json(ids).dump().substr(0, 300) << "\nfound    "
                  << Json(tokenizer.encode(lines[i], true)).dump().substr(0, 300) << "\n"
                  << Json(text.substr(0, 100)).dump(-1, ' ', true);
  }
}

TEST(TokenizerFolder, GivesTheIdsOfAutoTokenizer) {
  const auto lines = read_json(folders() / "lines.json").get<std::vector<std::string>>();
  for (const auto& name : names("folders")) expect_same(Files(folders() / name).load().tokenizer, name, lines);
}

TEST(TokenizerFolder, GgufGivesTheIdsOfAutoTokenizer) {
  const auto lines = read_json(folders() / "lines.json").get<std::vector<std::string>>();
  for (const auto& name : names("gguf")) {
    const auto document = text::tokenizer_json_from_gguf(read_json(folders() / name / "metadata.json"), name);
    expect_same({document, name}, name, lines);
  }
}

TEST(TokenizerFolder, GgufDetailsAreNamed) {
  const auto notes_of = [](const char* name) {
    return text::gguf_tokenizer_notes(read_json(folders() / name / "metadata.json"), "m.gguf");
  };
  const std::string missing = "m.gguf: tokenizer.ggml.add_space_prefix is missing; texts are assumed to begin with";
  EXPECT_EQ(notes_of("gguf_llama"), std::vector<std::string>());
  EXPECT_EQ(notes_of("gguf_llama_unsaid"), std::vector<std::string>{missing + " a space"});
  EXPECT_EQ(notes_of("gguf_gemma_unsaid"), std::vector<std::string>{missing + "out a space"});
  auto metadata = read_json(folders() / "gguf_llama" / "metadata.json");
  metadata["tokenizer.ggml.tokens"][300] = std::string(1025, 'x');
  EXPECT_EQ(message_of<Error>([&] { text::tokenizer_json_from_gguf(metadata, "m.gguf"); }),
            "m.gguf: token 300 has 1025 bytes; 1024 is the most for a SentencePiece model");
}

// A text that goes on keeps the space that its first word begins with.
TEST(TokenizerFolder, AContinuationKeepsItsSpace) {
  const auto tokenizer = Files(folders() / "spm_llama").load().tokenizer;
  const auto before = tokenizer.encode("Hello", false), both = tokenizer.encode("Hello world \xE2\x82\xAC", false);
  ASSERT_TRUE(std::equal(before.begin(), before.end(), both.begin()));
  const Ids after(both.begin() + static_cast<std::ptrdiff_t>(before.size()), both.end());
  EXPECT_EQ(tokenizer.decode(after, true), "world \xE2\x82\xAC");
  EXPECT_EQ(tokenizer.decode_after(before, after, true), " world \xE2\x82\xAC");
  EXPECT_EQ(tokenizer.bytes_of(tokenizer.id_of("\u2581the").value()), " the");
  EXPECT_EQ(tokenizer.bytes_of(tokenizer.id_of("<0xE2>").value()), "\xE2");
}

TEST(TokenizerFolder, WhatIsNotSupportedIsNamed) {
  Files files(folders() / "spm_llama");
  const auto refusal = [&] { return message_of<Error>([&] { files.load(); }); };
  auto& model = files.contents_["tokenizer.model"];
  const auto whole = model;
  model = whole.substr(0, whole.size() / 2);
  EXPECT_NE(refusal().find("tokenizer.model: not a SentencePiece model, or a damaged one"), std::string::npos);
  model = "IQ== 0\nIg== 1\n";
  EXPECT_NE(refusal().find("tokenizer.model: a tiktoken vocabulary, which is not supported"), std::string::npos);
  model = whole;
  files.contents_["tokenizer_config.json"] = R"({"tokenizer_class": "GPT2Tokenizer"})";
  EXPECT_NE(refusal().find("tokenizer.model: tokenizer_class GPT2Tokenizer does not read it"), std::string::npos);
  files.contents_["tokenizer_config.json"] = R"({"tokenizer_class": "T5Tokenizer"})";
  EXPECT_NE(refusal().find("tokenizer_class T5Tokenizer is built in a way that is not supported"), std::string::npos);
  files.contents_["tokenizer_config.json"] = R"({"tokenizer_class": "LlamaTokenizer", "add_bos_token": 1})";
  EXPECT_NE(refusal().find("add_bos_token: expected true or false"), std::string::npos);
}

}  // namespace
}  // namespace normtweak::tests
