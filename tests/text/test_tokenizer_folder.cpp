// Folders and GGUF metadata as transformers' AutoTokenizer reads them; see tests/oracles/text_folders.py.
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <sstream>

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
      const auto name = entry.path().filename().string();
      if (entry.path().extension() == ".json" || text::is_vocabulary_file(name)) {
        contents_[name] = read_file(entry.path());
      }
    }
    model_type_ = parse_json(contents_.at("config.json"), origin_)["model_type"].get<std::string>();
  }

  text::LoadedTokenizer load() const {
    const auto content = [&](const char* name) -> std::optional<std::string_view> {
      const auto found = contents_.find(name);
      return found == contents_.end() ? std::nullopt : std::optional<std::string_view>(found->second);
    };
    std::vector<std::string> names;
    for (const auto& [name, text] : contents_) names.push_back(name);
    const auto vocabulary = text::find_vocabulary_file(names, origin_);
    return text::load_tokenizer(
        {.tokenizer = content("tokenizer.json").value_or(""),
         .vocabulary =
             vocabulary ? std::optional(text::VocabularyFile{*vocabulary, contents_.at(*vocabulary)}) : std::nullopt,
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
            "m.gguf: token 300 has 1025 bytes; 1024 is the most that merges are derived from");
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

// What is wrong with a vocabulary of tiktoken, made of one that is right.
TEST(TokenizerFolder, MalformedRanksAreNamed) {
  const auto refusal = [](const std::function<void(std::vector<std::string>&)>& edit) {
    Files files(folders() / "tiktoken_no_class");
    auto& content = files.contents_["tokenizer.model"];
    std::vector<std::string> lines;
    std::istringstream stream(content);
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    edit(lines);
    content.clear();
    for (const auto& line : lines) content += line + "\n";
    const auto message = message_of<Error>([&] { files.load(); });
    return message.substr(std::min(message.find("tokenizer.model: "), message.size()));
  };
  using Lines = std::vector<std::string>;
  const struct {
    std::function<void(Lines&)> edit;
    std::string message;
  } cases[] = {
      {[](Lines& lines) { lines[4] = "I*== 4"; }, "line 5 is not a token in base64 and its rank: I*== 4; "},
      {[](Lines& lines) { lines[4] = "IQ= 4"; }, "line 5 is not a token in base64 and its rank: IQ= 4; "},
      {[](Lines& lines) { lines[4] = "IQ=="; }, "line 5 is not a token in base64 and its rank: IQ==; "},
      {[](Lines& lines) { lines[4] = " 4"; }, "line 5 is not a token in base64 and its rank: 4; "},
      {[](Lines& lines) { lines[4] = "IQ== four"; }, "line 5 is not a token in base64 and its rank: IQ== four; "},
      {[](Lines& lines) { lines[4] = "IQ== 4 4"; }, "line 5 is not a token in base64 and its rank: IQ== 4 4; "},
      {[](Lines& lines) { lines[4] = "IQ== -4"; }, "line 5 is not a token in base64 and its rank: IQ== -4; "},
      {[](Lines& lines) { lines[4] = "IQ== 99999999999999999999"; }, "line 5 is not a token in base64 and its rank: "},
      {[](Lines& lines) { lines[0] = "{\"a\": 1}"; }, "line 1 is not a token in base64 and its rank: {\"a\": 1}; "},
      {[](Lines& lines) { lines.erase(lines.begin() + 4); }, "line 5 has the rank 5 where 4 is due; "},
      {[](Lines& lines) { lines.insert(lines.begin() + 4, lines[3]); }, "line 5 has the rank 3 where 4 is due; "},
      {[](Lines& lines) { std::swap(lines[4], lines[7]); }, "line 5 has the rank 7 where 4 is due; "},
      {[](Lines& lines) { lines[300] = lines[299].substr(0, lines[299].find(' ')) + " 300"; },
       "line 301 has the token of rank 299 again; "},
      {[](Lines& lines) { lines[0] = "YWFhYWFhYWFhYWFh 0"; }, "the byte 0x21 is no token, so that not every text can "},
      {[](Lines& lines) { lines.resize(200); }, "the byte 0x"},
      {[](Lines& lines) {
         std::string token;
         for (int i = 0; i < 2000; ++i) token += "YWFh";
         lines.push_back(fmt::format("{} {}", token, lines.size()));
       },
       "token 1807 has 6000 bytes; 1024 is the most that merges are derived from"},
      {[](Lines& lines) { lines.emplace_back(20'000'000, 'A'); },
       "line 1808 is not a token in base64 and its rank: AAAA"},
      {[](Lines& lines) { lines.clear(); }, "not a SentencePiece model, or a damaged one; "}};
  for (const auto& [edit, message] : cases) {
    EXPECT_TRUE(refusal(edit).starts_with("tokenizer.model: " + message)) << message << "\n" << refusal(edit);
  }
}

TEST(TokenizerFolder, MalformedTekkenIsNamed) {
  const auto refusal = [](const std::function<void(Json&)>& edit) {
    Files files(folders() / "tekken_mistral");
    auto document = parse_json(files.contents_["tekken.json"], "tekken.json");
    edit(document);
    files.contents_["tekken.json"] = document.dump();
    const auto message = message_of<Error>([&] { files.load(); });
    return message.substr(std::min(message.find("tekken.json: "), message.size()));
  };
  const struct {
    std::function<void(Json&)> edit;
    std::string message;
  } cases[] = {
      {[](Json& file) { file.erase("config"); }, "config.pattern: expected a string"},
      {[](Json& file) { file["config"]["pattern"] = "(a"; }, "pre_tokenizer.pretokenizers[0].pattern"},
      {[](Json& file) { file.erase("special_tokens"); }, "special_tokens: is missing, as in early files; "},
      {[](Json& file) { file["special_tokens"][2]["rank"] = 3; }, "special_tokens[2].rank: 3 where 2 is due"},
      {[](Json& file) { file["config"]["default_num_special_tokens"] = 2; },
       "config.default_num_special_tokens: 2 for 5"},
      {[](Json& file) { file["config"]["default_num_special_tokens"] = 1e9; }, "config.default_num_special_tokens: "},
      {[](Json& file) { file["config"]["default_vocab_size"] = 3; },
       "config.default_vocab_size: 3 for 12 special tokens"},
      {[](Json& file) { file["config"]["default_vocab_size"] = 100; }, "the byte 0x"},
      {[](Json& file) { file["vocab"][9]["rank"] = 3; }, "vocab[9].rank: 3 where 9 is due"},
      {[](Json& file) { file["vocab"][9]["token_bytes"] = "*"; }, "vocab[9].token_bytes: is not a token in base64"},
      {[](Json& file) { file["vocab"][9]["token_bytes"] = file["vocab"][8]["token_bytes"]; },
       "vocab[9].token_bytes: is the token of rank 8 again"},
      {[](Json& file) { file["special_tokens"][0]["token_str"] = "A"; }, "the token A is a special one as well; "}};
  for (const auto& [edit, message] : cases) {
    EXPECT_TRUE(refusal(edit).starts_with("tekken.json: " + message)) << message << "\n" << refusal(edit);
  }
}

TEST(TokenizerFolder, WhatIsAssumedOfRanksIsNoted) {
  const auto notes_of = [](const char* name) {
    return fmt::format("{}", fmt::join(Files(folders() / name).load().notes, "\n"));
  };
  EXPECT_NE(notes_of("tiktoken_no_class")
                .find("tokenizer.model: no pattern is in the file; that of transformers (Llama "
                      "3's) is assumed"),
            std::string::npos);
  EXPECT_NE(notes_of("tiktoken_no_class").find("add_bos_token is missing"), std::string::npos);
  EXPECT_NE(notes_of("tiktoken_class_kimi")
                .find("tiktoken.model: read with the pattern and the special tokens of "
                      "TikTokenTokenizer; "),
            std::string::npos);
  EXPECT_EQ(notes_of("tekken_mistral"), "");
}

TEST(TokenizerFolder, VocabulariesThatNothingDecidesOnAreNamed) {
  Files files(folders() / "tiktoken_class_qwen");
  const auto refusal = [&] { return message_of<Error>([&] { files.load(); }); };
  files.contents_["tokenizer_config.json"] = R"({"tokenizer_class": "HYTokenizer"})";
  EXPECT_NE(refusal().find("qwen.tiktoken: the pattern of tokenizer_class HYTokenizer is not known here"),
            std::string::npos);
  files.contents_["tiktoken.model"] = files.contents_["qwen.tiktoken"];
  EXPECT_NE(refusal().find("qwen.tiktoken and tiktoken.model are there, and no tokenizer.json"), std::string::npos);
  Files far(folders() / "tiktoken_no_class");
  far.contents_["added_tokens.json"] = R"({"<x>": 1000000000000})";
  EXPECT_NE(message_of<Error>([&] { far.load(); }).find("added token <x> has the id 1000000000000, though "),
            std::string::npos);
}

TEST(TokenizerFolder, WhatIsNotSupportedIsNamed) {
  Files files(folders() / "spm_llama");
  const auto refusal = [&] { return message_of<Error>([&] { files.load(); }); };
  auto& model = files.contents_["tokenizer.model"];
  const auto whole = model;
  model = whole.substr(0, whole.size() / 2);
  EXPECT_NE(refusal().find("tokenizer.model: not a SentencePiece model, or a damaged one"), std::string::npos);
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
