// Files that are wrong, or ask for what is not supported: one line that names the part.
#include <gtest/gtest.h>

#include "normtweak/base/error.h"
#include "normtweak/text/tokenizer.h"
#include "support/temporary_folder.h"

namespace normtweak::tests {
namespace {

// A sound document, and below what is changed in it.
Json small_tokenizer() {
  return parse_json(R"({
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
    "decoder": {"type": "ByteLevel"}
  })",
                    "a tokenizer");
}

struct Case {
  std::string_view patch;    // merged into the document, RFC 7396
  std::string_view message;  // after "t.json: "
};

constexpr Case kCases[] = {
    {R"({"model": null})", "model: is missing"},
    {R"({"model": {"type": "Unigram"}})", "model.vocab: expected an array, found object"},
    {R"({"model": {"type": "Unigram", "vocab": []}})", "model.vocab: is empty"},
    {R"({"model": {"type": "Unigram", "vocab": [["a", 0], ["b"]]}})", "model.vocab[1]: expected a token and its score"},
    {R"({"model": {"type": "Unigram", "vocab": [["a", "x"]]}})", "model.vocab[0]: the score \"x\" is not a number"},
    {R"({"model": {"type": "Unigram", "vocab": [["a", 0]], "unk_id": 1}})",
     "model.unk_id: 1 is not an id; there are 1"},
    {R"({"model": {"type": "WordLevel"}})", "model.unk_token: expected a string, found null"},
    {R"({"model": {"type": "WordLevel", "unk_token": "?"}})", "model.unk_token: ? is not in the vocabulary"},
    {R"({"model": {"type": "BPE", "vocab": [["a", 0]]}})", "model.vocab: expected an object, found array"},
    {R"({"model": {"type": "Words"}})",
     "model: type Words is not supported; BPE, Unigram, WordLevel and WordPiece are"},
    {R"({"model": {"type": "WordPiece", "unk_token": "a"}})",
     "model.continuing_subword_prefix: expected a string, found null"},
    {R"({"model": {"type": "WordPiece", "continuing_subword_prefix": "", "unk_token": "a"}})",
     "model.max_input_chars_per_word: expected a whole number, found null"},
    {R"({"model": {"type": "WordPiece", "continuing_subword_prefix": "", "unk_token": "?"}})",
     "model.unk_token: ? is not in the vocabulary"},
    {R"({"model": {"type": "BPE", "continuing_subword_prefix": "##"}})",
     "model.merges[0]: the token b has no continuing_subword_prefix"},
    {R"({"model": {"dropout": 0.1}})", "model.dropout: is not supported: it makes the ids random"},
    {R"({"model": {"vocab": null}})", "model.vocab: expected an object, found null"},
    {R"({"model": {"vocab": {"a": -1}}})", "model.vocab: token a: -1 is not an id"},
    {R"({"model": {"vocab": {"a": "x"}}})", "model.vocab: token a: \"x\" is not an id"},
    {R"({"model": {"merges": null}})", "model.merges: expected an array of merges"},
    {R"({"model": {"merges": ["a b", "a"]}})",
     "model.merges[1]: expected two tokens with a space between them, found \"a\""},
    {R"({"model": {"merges": [["a", "b", "a"]]}})", "model.merges[0]: expected two tokens, found 3"},
    {R"({"model": {"merges": [7]}})", "model.merges[0]: expected a string, found number"},
    {R"({"model": {"merges": ["b a"]}})", "model.merges[0]: the token ba is not in the vocabulary"},
    {R"({"model": {"unk_token": "?"}})", "model.unk_token: ? is not in the vocabulary, and not every byte is"},
    {R"({"pre_tokenizer": {"type": "Words"}})",
     "pre_tokenizer: the pre-tokenizer Words is not supported; these are: Sequence, ByteLevel, Metaspace, "
     "BertPreTokenizer, Split, Digits, Punctuation, Whitespace, WhitespaceSplit, CharDelimiterSplit, FixedLength, "
     "UnicodeScripts"},
    {R"({"pre_tokenizer": {"type": "FixedLength", "length": 0}})",
     "pre_tokenizer.length: 0 is not within 1 to 65535 characters"},
    {R"({"pre_tokenizer": {"type": "Metaspace"}})", "pre_tokenizer.replacement: expected a string, found null"},
    {R"({"pre_tokenizer": {"type": "Metaspace", "replacement": "__"}})",
     "pre_tokenizer.replacement: expected one character, found \"__\""},
    {R"({"pre_tokenizer": {"type": "Metaspace", "replacement": "_", "prepend_scheme": "last"}})",
     "pre_tokenizer.prepend_scheme: last is not supported; never, first and always are"},
    {R"({"pre_tokenizer": {"type": "Metaspace", "replacement": "_", "add_prefix_space": false}})",
     "pre_tokenizer.add_prefix_space: false needs a prepend_scheme of never; add it to the file"},
    {R"({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "a(b"}}})",
     "pre_tokenizer.pattern.Regex: the regex has a missing closing parenthesis before byte 3; it cannot be translated "
     "for PCRE2"},
    {R"({"pre_tokenizer": {"type": "Split", "pattern": {}}})", "pre_tokenizer.pattern: expected a Regex or a String"},
    {R"({"pre_tokenizer": {"type": "Split", "pattern": {"String": "a"}, "behavior": "Odd"}})",
     "pre_tokenizer.behavior: the behavior Odd is not supported"},
    {R"({"pre_tokenizer": {"use_regex": 1}})", "pre_tokenizer.use_regex: expected true or false, found number"},
    {R"({"normalizer": {"type": "Uppercase"}})",
     "normalizer: the normalizer Uppercase is not supported; these are: Sequence, NFC, NFD, NFKC, NFKD, Prepend, "
     "Replace, Strip, StripAccents, Lowercase, Nmt, Precompiled, BertNormalizer, ByteLevel"},
    {R"({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "ab*d"}})",
     "normalizer.precompiled_charsmap: is not base64"},
    {R"({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAA="}})",
     "normalizer.precompiled_charsmap: the charsmap has 2 bytes, too few for its header"},
    {R"({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "CAAAAAAA"}})",
     "normalizer.precompiled_charsmap: the charsmap's trie of 8 bytes does not fit in it"},
    {R"({"normalizer": {"type": "Sequence", "normalizers": [{}]}})",
     "normalizer.normalizers[0].type: expected a string, found null"},
    {R"({"post_processor": {"type": "Odd"}})",
     "post_processor: the post-processor Odd is not supported; TemplateProcessing, RobertaProcessing, BertProcessing, "
     "ByteLevel and Sequence are"},
    {R"({"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}]}})",
     "post_processor.single[0].SpecialToken.id: special_tokens has no ids for <s>"},
    {R"({"post_processor": {"type": "TemplateProcessing", "single": []}})",
     "post_processor.single: the template does not hold the text, A"},
    {R"({"post_processor": {"type": "RobertaProcessing", "cls": ["<s>", -1], "sep": ["</s>", 2]}})",
     "post_processor: -1 is not the id of a token; there are 3"},
    {R"({"post_processor": {"type": "RobertaProcessing", "cls": ["<s>", 0], "sep": ["</s>", 3]}})",
     "post_processor: 3 is not the id of a token; there are 3"},
    {R"({"decoder": {"type": "CTC"}})",
     "decoder: the decoder CTC is not supported, being for the frames of speech; these are: Sequence, ByteLevel, "
     "ByteFallback, Fuse, Replace, Strip, Metaspace, BPEDecoder, WordPiece"},
    {R"({"decoder": {"type": "Strip", "content": " ", "start": -1, "stop": 0}})",
     "decoder.start: -1 is not a number of characters"},
    {R"({"model": {"vocab": {"c": 1}}})", "model.vocab: the tokens b and c share the id 1"},
    {R"({"model": {"vocab": {"c": 1000000000}}})",
     "model.vocab: token c has the id 1000000000, though there are 4 tokens; is the file damaged?"},
    {R"({"model": {"vocab": {"c": 4294967296}}})", "model.vocab: token c: 4294967296 is not an id"},
    {R"({"model": {"vocab": {"c": 18446744073709551615}}})", "model.vocab: token c: 18446744073709551615 is not an id"},
    {R"({"model": {"vocab": {"c": 1.0}}})", "model.vocab: token c: 1.0 is not an id"},
    {R"({"more": 1})", "more: is not known"},
    {R"({"version": "2.0"})", "version: 2.0 is not supported; 1.0 is"},
    {R"({"added_tokens": [{"id": -1, "content": "<x>"}]})", "added_tokens[0].id: -1 is not an id"},
    {R"({"added_tokens": [{"id": 4294967296, "content": "<x>"}]})", "added_tokens[0].id: 4294967296 is not an id"},
    {R"({"added_tokens": [{"id": "5", "content": "<x>"}]})",
     "added_tokens[0].id: expected a whole number, found string"},
    {R"({"added_tokens": [{"id": 5, "content": "<x>", "special": true}]})", "added_tokens[0].single_word: is missing"},
    {R"({"added_tokens": {"a": 1}})", "added_tokens: expected an array, found object"},
    {R"({"added_tokens": [{"id": 5}]})", "added_tokens[0].content: expected a string, found null"},
};

TEST(MalformedTokenizer, IsRefusedInOneLine) {
  for (const auto& [patch, message] : kCases) {
    auto document = small_tokenizer();
    document.merge_patch(parse_json(patch, "a patch"));
    EXPECT_EQ(message_of<Error>([&] { text::Tokenizer(document, "t.json"); }), "t.json: " + std::string(message));
  }
}

// Each step doubles the text: forty of them would fill any memory.
TEST(MalformedTokenizer, TextThatGrowsWithoutEndIsRefused) {
  auto document = small_tokenizer();
  const Json twice = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}};
  document["normalizer"] = {{"type", "Sequence"}, {"normalizers", Json::array()}};
  for (int i = 0; i < 40; ++i) document["normalizer"]["normalizers"].push_back(twice);
  const text::Tokenizer tokenizer(document, "t.json");
  EXPECT_EQ(
      message_of<Error>([&] { tokenizer.encode("ab", false, "a.txt"); }),
      "t.json, on the text a.txt: the normalizer makes more than 1048608 bytes of a text; the tokenizer is damaged");
}

// Spaces become a thousand bytes each: no piece is beyond the limit of one, but all of them together are.
TEST(MalformedTokenizer, ManyPiecesTogetherGrowNoFurtherThanOne) {
  auto document = small_tokenizer();
  document["normalizer"] = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", std::string(1000, 'a')}};
  const auto token = [](int id, const std::string& content, bool normalized) {
    return Json{{"id", id},        {"content", content}, {"single_word", false},    {"lstrip", false},
                {"rstrip", false}, {"special", false},   {"normalized", normalized}};
  };
  document["added_tokens"].push_back(token(3, "<x>", false));
  std::string text;
  for (int i = 0; i < 20; ++i) text += "<x>" + std::string(100, ' ');
  const auto message_on = [&](const std::string& given) {
    return message_of<Error>([&] { text::Tokenizer(document, "t.json").encode(given, false, "a.txt"); });
  };
  const auto beyond = message_on(text);
  EXPECT_TRUE(beyond.starts_with("t.json, on the text a.txt: the normalizer makes more than ")) << beyond;
  EXPECT_NO_THROW(text::Tokenizer(document, "t.json").encode(text.substr(0, text.size() / 4), false));
  for (int id = 4; id < 24; ++id) document["added_tokens"].push_back(token(id, std::string(80 + id, ' '), true));
  const auto refused = message_on("a");
  EXPECT_TRUE(refused.starts_with("t.json: added_tokens: \"   ")) << refused;
  EXPECT_TRUE(refused.ends_with(" bytes of a text; the tokenizer is damaged")) << refused;
}

TEST(MalformedTokenizer, LongTokensAreLimited) {
  auto document = small_tokenizer();
  document["model"] = {{"type", "WordPiece"},
                       {"continuing_subword_prefix", ""},
                       {"max_input_chars_per_word", 9},
                       {"vocab", {{"<unk>", 0}}},
                       {"unk_token", "<unk>"}};
  document["model"]["vocab"][std::string(9 << 20, 'a')] = 1;
  EXPECT_EQ(
      message_of<Error>([&] { text::Tokenizer(document, "t.json"); }),
      "t.json: model.vocab: the tokens of more than 128 bytes have 9437184 bytes together, and at most 8388608 are "
      "read; the tokenizer is damaged");
}

// Two signs for a space that take turns: each step puts its own in front of what the other one made.
TEST(MalformedTokenizer, WordsThatGrowWithoutEndAreRefused) {
  auto document = small_tokenizer();
  document["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", Json::array()}};
  document["pre_tokenizer"]["pretokenizers"].push_back(
      {{"type", "Split"}, {"pattern", {{"String", "a"}}}, {"behavior", "Isolated"}});
  for (int i = 0; i < 60; ++i) {
    document["pre_tokenizer"]["pretokenizers"].push_back({{"type", "Metaspace"},
                                                          {"replacement", i % 2 == 0 ? "_" : "-"},
                                                          {"prepend_scheme", "always"},
                                                          {"split", false}});
  }
  const text::Tokenizer tokenizer(document, "t.json");
  EXPECT_EQ(message_of<Error>([&] { tokenizer.encode(std::string(50'000, 'a'), false, "a.txt"); }),
            "t.json, on the text a.txt: the pre-tokenizer makes more than 1848576 bytes of a text; the tokenizer is "
            "damaged");
}

TEST(MalformedTokenizer, ATokenThatGrowsWithoutEndIsRefused) {
  auto document = small_tokenizer();
  const Json twice = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}};
  document["decoder"] = {{"type", "Sequence"}, {"decoders", Json::array()}};
  for (int i = 0; i < 40; ++i) document["decoder"]["decoders"].push_back(twice);
  const text::Tokenizer tokenizer(document, "t.json");
  const std::string message = "the decoder makes more than 1048592 bytes of tokens; the tokenizer is damaged";
  EXPECT_EQ(message_of<Error>([&] { tokenizer.bytes_of(0); }), message);
  EXPECT_EQ(message_of<Error>([&] { tokenizer.decode({0}, false); }), message);
}

// An id beyond the embedding would be looked up all the same.
TEST(MalformedTokenizer, IdsBeyondTheEmbeddingAreRefusedWhereTheyAreUsed) {
  auto document = small_tokenizer();
  document["model"]["vocab"]["c"] = 3;
  document["post_processor"] = parse_json(R"({"type": "RobertaProcessing", "cls": ["c", 3], "sep": ["a", 0]})", "");
  text::Tokenizer tokenizer(document, "t.json");
  tokenizer.limit_ids(3);
  EXPECT_EQ(tokenizer.encode("ab", false), std::vector<std::int64_t>{2});
  const std::string message =
      ": token c has the id 3, and the model's embedding has 3 rows for the tokenizer's 4 tokens; use the tokenizer "
      "that "
      "the model was trained with";
  EXPECT_EQ(message_of<Error>([&] { tokenizer.encode("abc", false, "a.txt"); }), "a.txt" + message);
  EXPECT_EQ(message_of<Error>([&] { tokenizer.encode("ab", true, "a.txt"); }), "a.txt" + message);
  EXPECT_EQ(message_of<Error>([&] { tokenizer.prefix(); }), "t.json" + message);
}

TEST(MalformedTokenizer, NotAnObject) {
  EXPECT_EQ(message_of<Error>([] { text::Tokenizer(Json::array(), "t.json"); }),
            "t.json: expected an object with the key model");
}

TEST(MalformedTokenizer, TheSoundOneWorks) {
  const text::Tokenizer tokenizer(small_tokenizer(), "t.json");
  EXPECT_EQ(tokenizer.encode("abba", false), (std::vector<std::int64_t>{2, 1, 0}));
}

}  // namespace
}  // namespace normtweak::tests
