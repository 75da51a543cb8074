// GGUF files that are no sound model: each is an Error that names the file and the key or the tensor.
#include <cmath>

#include "formats/gguf_bytes.h"
#include "normtweak/base/error.h"
#include "normtweak/model/gguf_checkpoint.h"
#include "normtweak/text/tokenizer.h"
#include "support/temporary_folder.h"

namespace normtweak::model {
namespace {
using namespace formats::gguf_bytes;
using formats::raw;

struct Value {
  std::uint32_t type;
  std::string bytes;
};
using Metadata = std::map<std::string, Value>;

Value number(std::uint32_t value) { return {4, raw(value)}; }
Value large_number(std::uint64_t value) { return {10, raw(value)}; }
Value words(const std::string& value) { return {8, gguf_text(value)}; }
Value list(const std::vector<std::string>& values) {
  auto bytes = raw(std::uint32_t{8}) + raw(std::uint64_t{values.size()});
  for (const auto& value : values) bytes += gguf_text(value);
  return {9, bytes};
}

Value numbers(const std::vector<std::uint32_t>& values) {
  auto bytes = raw(std::uint32_t{4}) + raw(std::uint64_t{values.size()});
  for (const auto value : values) bytes += raw(value);
  return {9, bytes};
}

struct Tensor {
  std::string name;
  std::vector<std::uint64_t> extents;
  std::uint32_t type = 0;  // F32
};

constexpr std::size_t kRoom = 256;  // bytes between two tensors, enough for each

std::string file_of(const Metadata& metadata, const std::vector<Tensor>& tensors) {
  auto bytes = start(tensors.size(), metadata.size());
  for (const auto& [name, value] : metadata) bytes += key(name, value.type, value.bytes);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    bytes += tensor(tensors[i].name, tensors[i].extents, tensors[i].type, i * kRoom);
  }
  return with_data(bytes, tensors.size() * kRoom);
}

const Tensor kEmbedding = {"token_embd.weight", {8, 2}};

Metadata sound_metadata() {
  return {{"general.architecture", words("llama")},
          {"llama.embedding_length", number(8)},
          {"llama.block_count", number(1)},
          {"llama.attention.head_count", number(2)},
          {"llama.feed_forward_length", number(8)},
          {"llama.context_length", number(16)},
          {"llama.attention.layer_norm_rms_epsilon", {6, raw(1e-5F)}},
          {"llama.rope.freq_base", {6, raw(1e4F)}},
          {"tokenizer.ggml.model", words("gpt2")},
          {"tokenizer.ggml.pre", words("gpt-2")},
          {"tokenizer.ggml.token_type", numbers({1, 1})},
          {"tokenizer.ggml.tokens", list({"a", "b"})},
          {"tokenizer.ggml.merges", list({})}};
}

class GgufCheckpoint : public tests::TemporaryFolder {
 protected:
  // Opens a file whose metadata differ from sound ones by `change`, and reads its tensors.
  Checkpoint open(const Metadata& change, const std::vector<Tensor>& tensors = {kEmbedding}) const {
    auto metadata = sound_metadata();
    for (const auto& [name, value] : change) metadata[name] = value;
    write(folder() / "m.gguf", file_of(metadata, tensors));
    auto checkpoint = open_gguf_checkpoint(folder() / "m.gguf");
    for (const auto& name : checkpoint.tensors->names()) {
      checkpoint.tensors->info(name);
      checkpoint.tensors->read(name);
    }
    return checkpoint;
  }

  void expect_refused(const Metadata& change, const std::vector<Tensor>& tensors, const std::string& message) const {
    const auto found = tests::message_of<Error>([&] { open(change, tensors); });
    EXPECT_TRUE(found.starts_with((folder() / "m.gguf").string() + ": ")) << found;
    EXPECT_NE(found.find(message), std::string::npos) << found;
  }
};

TEST_F(GgufCheckpoint, ASoundOneIsOpened) {
  const auto checkpoint = open({});
  EXPECT_EQ(checkpoint.numbers.head_size, 4);
  EXPECT_EQ(checkpoint.numbers.vocabulary, 2);
  EXPECT_EQ(load_tokenizer(checkpoint).size(), 2);
}

TEST_F(GgufCheckpoint, AListOfOneNumberForEachBlockIsThatNumber) {
  const auto checkpoint = open({{"llama.block_count", number(2)},
                                {"llama.attention.head_count", numbers({4, 4})},
                                {"llama.attention.head_count_kv", numbers({2, 2})},
                                {"llama.feed_forward_length", numbers({16, 16})}});
  EXPECT_EQ(checkpoint.numbers.heads, 4);
  EXPECT_EQ(checkpoint.numbers.key_value_heads, 2);
  EXPECT_EQ(checkpoint.numbers.intermediate, 16);
  expect_refused({{"llama.attention.head_count_kv", numbers({2, 1})}}, {kEmbedding},
                 "metadata llama.attention.head_count_kv is [2,1]; one number for all blocks is supported");
  expect_refused({{"llama.feed_forward_length", numbers({})}}, {kEmbedding},
                 "metadata llama.feed_forward_length is []; one number for all blocks is supported");
}

TEST_F(GgufCheckpoint, NumbersThatAreNoModelAreRefused) {
  const std::vector<Tensor> tensors = {kEmbedding};
  expect_refused({{"llama.attention.head_count", number(0)}}, tensors, "metadata llama.attention.head_count is 0");
  expect_refused({{"llama.embedding_length", number(9)}}, tensors,
                 "metadata llama.attention.head_count is 2, which does not divide metadata llama.embedding_length, 9");
  expect_refused({{"llama.block_count", large_number(std::uint64_t{1} << 40)}}, tensors,
                 "metadata llama.block_count is 1099511627776");
  expect_refused({{"llama.block_count", list({"\xff"})}}, tensors, "metadata llama.block_count is \"\uFFFD\"");
  expect_refused({{"llama.rope.freq_base", words("x")}}, tensors, "metadata llama.rope.freq_base is \"x\"");
  expect_refused({{"llama.vocab_size", number(3)}}, tensors,
                 "metadata llama.vocab_size is 3, but tensor token_embd.weight has 2 rows");
}

TEST_F(GgufCheckpoint, NumbersOutOfBoundsAreRefused) {
  const float infinity = INFINITY, nan = NAN;
  struct Row {
    std::string key;
    std::vector<float> values;
  };
  const Row rows[] = {{"rope.freq_base", {0, -1e4F, nan, infinity}},
                      {"rope.scaling.factor", {-2, nan, infinity}},
                      {"rope.scale_linear", {-2, nan}},
                      {"attention.layer_norm_rms_epsilon", {0, -1e-5F, nan, infinity, 10}}};
  for (const auto& [key, values] : rows) {
    for (const auto value : values) {
      expect_refused({{"llama." + key, {6, raw(value)}}}, {kEmbedding}, fmt::format("metadata llama.{} is ", key));
    }
  }
  expect_refused({}, {kEmbedding, {"rope_freqs.weight", {2}}}, "rope_freqs.weight is ");
}

TEST_F(GgufCheckpoint, IdsBeyondTheVocabularyAreNoted) {
  EXPECT_TRUE(open({{"tokenizer.ggml.eos_token_id", number(1)}}).notes.empty());
  const auto checkpoint = open({{"tokenizer.ggml.eos_token_id", number(1000000000)}});
  ASSERT_EQ(checkpoint.notes.size(), 1);
  EXPECT_NE(checkpoint.notes.front().find("`eos_token_id` 1000000000 lies outside"), std::string::npos);
}

TEST_F(GgufCheckpoint, MetadataThatNobodyKnowsAreNoted) {
  EXPECT_TRUE(open({{"general.foo", number(1)}, {"llama.vocab_size", number(2)}}).notes.empty());
  const auto checkpoint = open({{"llama.foo", number(1)}});
  ASSERT_EQ(checkpoint.notes.size(), 1);
  EXPECT_TRUE(checkpoint.notes.front().ends_with(": `llama.foo` is not known to this program and has no effect here"));
}

TEST_F(GgufCheckpoint, ShapesThatAreNoModelAreRefused) {
  expect_refused({}, {{"token_embd.weight", {}}}, "tensor token_embd.weight: a matrix expected, the file has []");
  expect_refused({}, {kEmbedding, {"blk.0.attn_q.weight", {8, 3}}},
                 "tensor blk.0.attn_q.weight: rows of 2 heads expected, the file has [3, 8]");
  expect_refused({}, {kEmbedding, {"blk.0.attn_q.weight", {}}}, "rows of 2 heads expected, the file has []");
  expect_refused({}, {kEmbedding, {"blk.0.attn_q.weight", {0, 8}}}, "rows of 2 heads expected, the file has [8, 0]");
  const Metadata gpt2 = {{"general.architecture", words("gpt2")},
                         {"gpt2.embedding_length", number(8)},
                         {"gpt2.block_count", number(1)},
                         {"gpt2.attention.head_count", number(2)},
                         {"gpt2.feed_forward_length", number(8)},
                         {"gpt2.context_length", number(16)},
                         {"gpt2.attention.layer_norm_epsilon", {6, raw(1e-5F)}}};
  expect_refused(gpt2, {kEmbedding, {"blk.0.ffn_up.weight", {}}},
                 "tensor blk.0.ffn_up.weight: a matrix expected, the file has []");
  expect_refused(gpt2, {kEmbedding, {"blk.0.ffn_up.weight", {2, 2, 2}}}, "a matrix expected, the file has [2, 2, 2]");
}

TEST_F(GgufCheckpoint, RotaryFactorsThatAreNoFactorsAreRefused) {
  const std::string message = "tensor rope_freqs.weight: 2 numbers in F32 expected, the file has ";
  expect_refused({}, {kEmbedding, {"rope_freqs.weight", {2}, 1}}, message + "F16 [2]");
  expect_refused({}, {kEmbedding, {"rope_freqs.weight", {0}}}, message + "F32 [0]");
  expect_refused({}, {kEmbedding, {"rope_freqs.weight", {3}}}, message + "F32 [3]");
}

TEST_F(GgufCheckpoint, TensorsThatNothingReadsAreRefused) {
  for (const auto* name : {"blk.0.attn_q_norm.weight", "blk.1.attn_q.weight", "blk.0.ffn_gate_inp.weight",
                           "rope_factors_long.weight", "token_embd_norm.weight"}) {
    expect_refused({}, {kEmbedding, {name, {8, 8}}}, fmt::format("tensor {}: no part of this llama model", name));
  }
  EXPECT_EQ(open({}, {kEmbedding, {"blk.0.attn_rot_embd.weight", {2}}}).tensors->names().size(), 1);
}

TEST_F(GgufCheckpoint, MetadataThatChangesThePassesIsRefused) {
  const auto real = [](float value) { return Value{6, raw(value)}; };
  const std::vector<Tensor> tensors = {kEmbedding};
  const auto expect_metadata_refused = [&](const std::string& key, const Value& value, const std::string& shown) {
    expect_refused({{"llama." + key, value}}, tensors, fmt::format("metadata llama.{} is {}", key, shown));
  };
  expect_metadata_refused("logit_scale", real(0.5F), "0.5, which is not supported; 1 is");
  expect_metadata_refused("attention.clamp_kqv", real(8), "8.0, which is not supported; 0 is");
  expect_metadata_refused("attention.scale", real(1), "1.0, which is not supported; 0.5 is");
  expect_metadata_refused("attention.causal", {7, std::string(1, '\0')}, "false, which is not supported; 1 is");
  expect_metadata_refused("attention.value_length", number(8), "8, which is not supported; 4 is");
  expect_metadata_refused("rope.dimension_count", number(2), "2, which is not supported; 4 is");
  expect_metadata_refused("rope.scaling.yarn_ext_factor", real(0.5F), "0.5, which is not supported; 1 is");
  expect_refused({{"llama.logit_scale", words("x")}}, tensors, "llama.logit_scale is \"x\", a number");
  open({{"llama.logit_scale", real(1)},
        {"llama.attention.scale", real(0.5F)},
        {"llama.attention.causal", {7, std::string(1, '\1')}},
        {"llama.expert_count", number(0)},
        {"llama.rope.dimension_count", number(4)}});
}

TEST_F(GgufCheckpoint, ExpertsTellFamiliesOfOneArchitectureApart) {
  const auto experts = open({{"llama.expert_count", number(4)}, {"llama.expert_used_count", number(2)}});
  EXPECT_EQ(experts.family->name, "mixtral");
  EXPECT_EQ(experts.numbers.experts, 4);
  expect_refused({{"general.architecture", words("gpt2")},
                  {"gpt2.embedding_length", number(8)},
                  {"gpt2.block_count", number(1)},
                  {"gpt2.attention.head_count", number(2)},
                  {"gpt2.feed_forward_length", number(8)},
                  {"gpt2.context_length", number(16)},
                  {"gpt2.attention.layer_norm_epsilon", {6, raw(1e-5F)}},
                  {"gpt2.expert_count", number(4)}},
                 {kEmbedding}, "metadata gpt2.expert_count is 4, which is not supported; 0 is");
}

TEST_F(GgufCheckpoint, LinearScalingHasTwoNames) {
  const auto four = Value{6, raw(4.0F)};
  const auto factor = [&](const Metadata& change) { return open(change).numbers.rotary.at(0).scaling.factor; };
  EXPECT_EQ(factor({{"llama.rope.scaling.type", words("linear")}, {"llama.rope.scaling.factor", four}}), 4);
  EXPECT_EQ(factor({{"llama.rope.scaling.factor", four}}), 4);  // linear is the default
  EXPECT_EQ(factor({{"llama.rope.scale_linear", four}}), 4);
  EXPECT_EQ(factor({{"llama.rope.scale_linear", Value{6, raw(0.0F)}}}), 1);
  EXPECT_EQ(factor({{"llama.rope.scaling.type", words("none")}, {"llama.rope.scaling.factor", four}}), 1);
  expect_refused({{"llama.rope.scale_linear", four}}, {kEmbedding, {"rope_freqs.weight", {2}}},
                 "tensor rope_freqs.weight beside");
  expect_refused({{"llama.rope.scaling.type", words("yarn")}, {"llama.rope.scaling.factor", four}},
                 {kEmbedding, {"rope_factors_long.weight", {2}}, {"rope_factors_short.weight", {2}}},
                 "tensor rope_factors_long.weight beside");
}

// Token ids go through the model all the same.
TEST_F(GgufCheckpoint, ATokenizerThatCannotBeUsedMattersWhereTextIsRead) {
  const auto expect_no_tokenizer = [&](const Metadata& change, const std::string& message) {
    const auto checkpoint = open(change);
    EXPECT_TRUE(checkpoint.side_files.empty());
    const auto found = tests::message_of<Error>([&] { load_tokenizer(checkpoint, "do something else"); });
    EXPECT_EQ(found, fmt::format("{}: {}; do something else", (folder() / "m.gguf").string(), message));
  };
  expect_no_tokenizer(
      {{"tokenizer.ggml.model", words("bert")}},
      "tokenizer.ggml.model: bert (WordPiece) is not supported; gpt2 (byte-level BPE), llama (SentencePiece) and t5 "
      "(Unigram) are");
  const std::string not_utf8 = "the text is not UTF-8; is the file damaged?";
  expect_no_tokenizer({{"tokenizer.ggml.merges", list({"a \xff"})}}, "tokenizer.ggml.merges[0]: " + not_utf8);
  expect_no_tokenizer({{"tokenizer.chat_template", words("\xff")}}, "tokenizer.chat_template: " + not_utf8);
}

}  // namespace
}  // namespace normtweak::model
