#include <gtest/gtest.h>

#include <cmath>

#include "normtweak/base/error.h"
#include "normtweak/model/family.h"
#include "normtweak/model/tensor_loader.h"
#include "support/temporary_folder.h"

namespace normtweak::model {
namespace {

Json llama_config() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"hidden_size", 64},
          {"intermediate_size", 96},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"vocab_size", 100},
          {"max_position_embeddings", 256},
          {"rms_norm_eps", 1e-6},
          {"hidden_act", "silu"}};
}

Json gpt2_config() {
  return {{"architectures", {"GPT2LMHeadModel"}},
          {"n_embd", 64},
          {"n_layer", 2},
          {"n_head", 4},
          {"vocab_size", 100},
          {"n_positions", 256},
          {"layer_norm_epsilon", 1e-5},
          {"activation_function", "gelu_new"}};
}

// What no family has a fallback for.
Json least_config(std::string_view model_type) {
  return {{"model_type", model_type},
          {"hidden_size", 64},
          {"num_hidden_layers", 8},
          {"num_attention_heads", 4},
          {"vocab_size", 100}};
}

ModelConfig read(const Json& config) { return read_config(find_family(config, "config.json"), config, "config.json"); }

Json changed(Json config, const Json& change) {
  config.merge_patch(change);  // null takes a key away
  return config;
}

struct BadConfig {
  const char* name;  // what the message must hold, beside the file
  Json config;
};

TEST(Config, ErrorsNameFileAndKey) {
  const auto llama = llama_config(), gpt2 = gpt2_config();
  const BadConfig cases[] = {
      {"architectures", changed(llama, {{"architectures", nullptr}})},
      {"MambaForCausalLM", changed(llama, {{"architectures", {"MambaForCausalLM"}}})},
      {"hidden_size", changed(llama, {{"hidden_size", nullptr}})},
      {"hidden_size", changed(llama, {{"hidden_size", "64"}})},
      {"hidden_size", changed(llama, {{"hidden_size", 0}})},
      {"hidden_size", changed(llama, {{"hidden_size", 64.5}})},
      {"hidden_size", changed(llama, {{"hidden_size", 1e300}})},
      {"hidden_size", changed(llama, {{"hidden_size", std::uint64_t{1} << 63}})},
      {"hidden_size", changed(llama, {{"hidden_size", std::int64_t{1} << 62}, {"intermediate_size", nullptr}})},
      {"num_hidden_layers", changed(llama, {{"num_hidden_layers", -1}})},
      {"num_hidden_layers", changed(llama, {{"num_hidden_layers", std::int64_t{1} << 40}})},
      {"num_attention_heads", changed(llama, {{"num_attention_heads", 6}})},
      {"num_key_value_heads", changed(llama, {{"num_key_value_heads", 3}})},
      {"head_dim", changed(llama, {{"head_dim", 7}})},
      {"head_dim", changed(llama, {{"head_dim", std::int64_t{1} << 62}})},
      {"vocab_size", changed(llama, {{"vocab_size", nullptr}})},
      {"rms_norm_eps", changed(llama, {{"rms_norm_eps", "1e-6"}})},
      {"hidden_act", changed(llama, {{"hidden_act", "mish"}})},
      {"tie_word_embeddings", changed(llama, {{"tie_word_embeddings", "no"}})},
      {"attention_bias", changed(llama, {{"attention_bias", 1}})},
      {"dtype", changed(llama, {{"torch_dtype", "int8"}})},
      {"rope_scaling", changed(llama, {{"rope_scaling", "linear"}})},
      {"ntk", changed(llama, {{"rope_scaling", {{"rope_type", "ntk"}, {"factor", 4}}}})},
      {"factor", changed(llama, {{"rope_scaling", {{"type", "linear"}}}})},
      {"low_freq_factor", changed(llama, {{"rope_parameters", {{"rope_type", "llama3"}, {"factor", 8}}}})},
      {"intermediate_size", changed(llama, {{"intermediate_size", nullptr}})},
      {"rms_norm_eps", changed(llama, {{"rms_norm_eps", std::nan("")}})},
      {"rms_norm_eps` is Infinity", changed(llama, {{"rms_norm_eps", INFINITY}})},
      {"rope_theta` is NaN", changed(llama, {{"rope_theta", std::nan("")}})},
      {"rope_scaling.factor` is -Infinity",
       changed(llama, {{"rope_scaling", {{"type", "linear"}, {"factor", -INFINITY}}}})},
      {"num_attention_heads` is 5, which does not divide `n_embd`", changed(gpt2, {{"num_attention_heads", 5}})},
      {"n_head", changed(gpt2, {{"n_head", 5}})},
      {"scale_attn_weights", changed(gpt2, {{"scale_attn_weights", false}})},
      {"add_cross_attention", changed(gpt2, {{"add_cross_attention", true}})},
  };
  for (const auto& row : cases) {
    const auto message = tests::message_of<Error>([&] { read(row.config); });
    EXPECT_NE(message.find(row.name), std::string::npos) << row.name << ": " << message;
    EXPECT_TRUE(message.starts_with("config.json: ")) << message;
  }
}

// The defaults of LlamaConfig and GPT2Config in transformers 5.
TEST(Config, KeysLeftOutAreWhatTransformersTakesThemFor) {
  const auto llama = read(changed(
      llama_config(), {{"max_position_embeddings", nullptr}, {"rms_norm_eps", nullptr}, {"hidden_act", nullptr}}));
  EXPECT_EQ(llama.context, 2048);
  EXPECT_EQ(llama.norm_epsilon, 1e-6);
  EXPECT_EQ(llama.activation, Activation::silu);
  const auto gpt2 = read(changed(
      gpt2_config(), {{"n_positions", nullptr}, {"layer_norm_epsilon", nullptr}, {"activation_function", nullptr}}));
  EXPECT_EQ(gpt2.context, 1024);
  EXPECT_EQ(gpt2.norm_epsilon, 1e-5);
  EXPECT_EQ(gpt2.activation, Activation::gelu_tanh);
}

// The defaults of the family's own config class.
TEST(Config, KeysOfChatglmLeftOut) {
  const Json least = {{"model_type", "chatglm"},
                      {"hidden_size", 64},
                      {"num_layers", 2},
                      {"num_attention_heads", 4},
                      {"padded_vocab_size", 100}};
  const auto own = read(least);
  EXPECT_EQ(own.context, 2048);
  EXPECT_EQ(own.norm_epsilon, 1e-5);
  EXPECT_EQ(own.intermediate, 13696);
  EXPECT_EQ(own.head_size, 128);
  EXPECT_EQ(own.rotary.at(0).size, 64);
  EXPECT_EQ(own.rotary.at(0).base, 10000);
  EXPECT_EQ(own.key_value_heads, 4);
  EXPECT_EQ(own.query_key_value_order, RowOrder::groups);
  EXPECT_FALSE(own.query_key_value_bias || own.attention_output_bias || own.mlp_bias || own.tied_head);
  EXPECT_TRUE(own.final_norm);
  const auto shared = read(changed(least, {{"multi_query_attention", true}, {"rope_ratio", 500}}));
  EXPECT_EQ(shared.key_value_heads, 1);
  EXPECT_EQ(shared.query_key_value_order, RowOrder::parts);
  EXPECT_EQ(shared.rotary.at(0).base, 5e6);
}

TEST(Config, KeysOfStarcoder2LeftOut) {
  const auto config = read(least_config("starcoder2"));
  EXPECT_EQ(config.context, 4096);
  EXPECT_EQ(config.norm_epsilon, 1e-5);
  EXPECT_EQ(config.key_value_heads, 2);
  EXPECT_EQ(config.head_size, 16);
  EXPECT_EQ(config.intermediate, 12288);
  EXPECT_EQ(config.activation, Activation::gelu_tanh);
  EXPECT_EQ(config.layer_facts.at(0).window, 0);
  EXPECT_EQ(config.rotary.at(0).base, 10000);
  EXPECT_TRUE(config.tied_head && config.norm_bias);
  EXPECT_TRUE(config.query_key_value_bias && config.attention_output_bias && config.mlp_bias);
}

TEST(Config, KeysOfOlmo3LeftOut) {
  const auto config = read(least_config("olmo3"));
  EXPECT_EQ(config.context, 2048);
  EXPECT_EQ(config.norm_epsilon, 1e-5);
  EXPECT_EQ(config.key_value_heads, 4);
  EXPECT_EQ(config.intermediate, 11008);
  for (std::size_t i = 0; i < 8; ++i) {
    const bool is_full = i == 3 || i == 7;
    EXPECT_EQ(config.layer_facts.at(i).window, is_full ? 0 : 4096);
    EXPECT_EQ(config.layer_facts.at(i).rotary, is_full ? 0 : 1);
  }
  EXPECT_EQ(config.rotary.at(0).base, 500000);
  EXPECT_EQ(config.rotary.at(1).base, 500000);
  EXPECT_FALSE(config.tied_head || config.query_key_value_bias || config.attention_output_bias);
}

TEST(Config, KeysOfErnie45LeftOut) {
  const auto config = read(least_config("ernie4_5"));
  EXPECT_EQ(config.context, 131072);
  EXPECT_EQ(config.norm_epsilon, 1e-5);
  EXPECT_EQ(config.key_value_heads, 2);
  EXPECT_EQ(config.head_size, 128);
  EXPECT_EQ(config.intermediate, 3072);
  EXPECT_EQ(config.rotary.at(0).base, 500000);
  EXPECT_TRUE(config.tied_head);
  EXPECT_FALSE(config.query_key_value_bias || config.attention_output_bias || config.mlp_bias);
  auto with_null = least_config("ernie4_5");
  with_null["head_dim"] = with_null["num_key_value_heads"] = nullptr;
  EXPECT_EQ(read(with_null).head_size, 16);
  EXPECT_EQ(read(with_null).key_value_heads, 4);
}

TEST(Config, KeysOfSeedOssLeftOut) {
  auto least = least_config("seed_oss");
  least["num_attention_heads"] = 16;
  const auto config = read(least);
  EXPECT_EQ(config.context, 524288);
  EXPECT_EQ(config.norm_epsilon, 1e-6);
  EXPECT_EQ(config.key_value_heads, 8);
  EXPECT_EQ(config.head_size, 128);
  EXPECT_EQ(config.intermediate, 27648);
  EXPECT_EQ(config.rotary.at(0).base, 10000);
  EXPECT_TRUE(config.query_key_value_bias);
  EXPECT_FALSE(config.attention_output_bias || config.mlp_bias || config.tied_head);
}

TEST(Config, WithoutArchitecturesTheModelTypeTellsTheFamily) {
  const auto config = changed(gpt2_config(), {{"architectures", nullptr}, {"model_type", "gpt2"}});
  EXPECT_EQ(find_family(config, "config.json").name, "gpt2");
  const auto other = changed(config, {{"model_type", "mamba"}});
  EXPECT_NE(tests::message_of<Error>([&] { find_family(other, "config.json"); }).find("model_type"), std::string::npos);
}

TEST(Config, DefaultsAreTheFamilys) {
  const auto llama = read(llama_config());
  EXPECT_EQ(llama.head_size, 16);
  EXPECT_EQ(llama.key_value_heads, 2);
  EXPECT_EQ(llama.rotary.at(0).base, 10000);
  EXPECT_FALSE(llama.tied_head);
  EXPECT_FALSE(llama.query_key_value_bias);
  EXPECT_EQ(llama.stored_type, at::kFloat);

  const auto gpt2 = read(gpt2_config());
  EXPECT_EQ(gpt2.key_value_heads, 4);
  EXPECT_EQ(gpt2.intermediate, 256);
  EXPECT_TRUE(gpt2.tied_head);
  EXPECT_TRUE(gpt2.query_key_value_bias && gpt2.attention_output_bias && gpt2.mlp_bias);
}

// Mistral-7B has had windows in its first version alone; later ones say null.
TEST(Config, NullIsNoWindow) {
  auto mistral = llama_config();
  mistral["architectures"] = {"MistralForCausalLM"};
  EXPECT_EQ(read(mistral).layer_facts.at(0).window, 4096);
  mistral["sliding_window"] = nullptr;
  EXPECT_EQ(read(mistral).layer_facts.at(0).window, 0);
}

TEST(Config, WholeNumbersMayBeSpelledAsFractions) {
  EXPECT_EQ(read(changed(llama_config(), {{"max_position_embeddings", 1e6}})).context, 1'000'000);
}

TEST(Config, BothSpellingsOfTheRotaryScaling) {
  const Json scaling = {{"rope_type", "llama3"},
                        {"factor", 8},
                        {"low_freq_factor", 1},
                        {"high_freq_factor", 4},
                        {"original_max_position_embeddings", 8192}};
  const auto outside = read(changed(llama_config(), {{"rope_theta", 5e5}, {"rope_scaling", scaling}}));
  const auto inside = read(changed(llama_config(), {{"rope_parameters", changed(scaling, {{"rope_theta", 5e5}})}}));
  for (const auto& config : {outside, inside}) {
    EXPECT_EQ(config.rotary.at(0).base, 5e5);
    EXPECT_EQ(config.rotary.at(0).scaling.kind, RotaryScaling::Kind::llama3);
    EXPECT_EQ(config.rotary.at(0).scaling.factor, 8);
    EXPECT_EQ(config.rotary.at(0).scaling.original_context, 8192);
  }
}

TEST(Config, NumbersOfTheHeadAndItsType) {
  const auto config =
      read(changed(llama_config(), {{"head_dim", 32}, {"num_key_value_heads", nullptr}, {"dtype", "bfloat16"}}));
  EXPECT_EQ(config.head_size, 32);
  EXPECT_EQ(config.key_value_heads, 4);
  EXPECT_EQ(config.stored_type, at::kBFloat16);
}

TEST(Config, QuantizationOfOthersIsNamed) {
  const std::pair<std::string_view, std::string> cases[] = {{R"({"quant_method": "hqq"})", R"("hqq")"},
                                                            {R"({"quant_method": 4})", "4"},
                                                            {R"({"bits": 4})", R"({"bits":4})"},
                                                            {"[1]", "[1]"}};
  for (const auto& [config, found] : cases) {
    Checkpoint checkpoint;
    EXPECT_EQ(tests::message_of<Error>(
                  [&] { set_quantization(checkpoint, parse_json(config, "a config"), "m/config.json"); }),
              "m/config.json: method " + found +
                  " is not supported; compressed-tensors, gptq, awq, auto-round, "
                  "bitsandbytes, fp8 are");
  }
}

}  // namespace
}  // namespace normtweak::model
