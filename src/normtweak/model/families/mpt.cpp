// MPT: ALiBi, LayerNorms and linears without bias.
#include "normtweak/base/error.h"
#include "normtweak/model/config_values.h"
#include "normtweak/model/families/families.h"
#include "normtweak/model/gguf_keys.h"
#include "normtweak/model/gguf_metadata.h"

namespace normtweak::model {
namespace {

constexpr Range kFactors = {1e-6, 1e6};
constexpr double kSteepest = 8;  // the exponent of the steepest slope

bool nothing_else(const Json& /*value*/, const Json& /*config*/, const ModelConfig& /*numbers*/) { return false; }

bool is_layer_norm(const Json& value, const Json& /*config*/, const ModelConfig& /*numbers*/) {
  return value == "low_precision_layernorm" || value == "layernorm";
}

void require(const ConfigValues& attention, std::string_view key, const Json& wanted) {
  if (!attention.has(key) || attention.at(key) == wanted) return;
  fail("{}: {} is {}, which is not supported; {} is", attention.origin(), attention.name(key), show(attention.at(key)),
       show(wanted));
}

void complete(const ConfigValues& values, ModelConfig& config) {
  config.alibi_largest = kSteepest;
  config.alibi_odd_first = true;
  if (!values.has("attn_config")) return;
  const auto attention = values.inner("attn_config");
  require(attention, "alibi", true);
  require(attention, "qk_ln", false);
  require(attention, "prefix_lm", false);
  require(attention, "attn_type", "multihead_attention");
  if (attention.has("clip_qkv") && attention.at("clip_qkv") != 0) {
    config.query_key_value_clip = attention.number("clip_qkv", kFactors);
  }
  if (attention.has("softmax_scale")) config.attention_scale = attention.number("softmax_scale", kFactors);
  if (attention.has("alibi_bias_max") && attention.number("alibi_bias_max", kFactors) != kSteepest) {
    attention.note(fmt::format("{} is {}, which has no effect, as in transformers; it takes {}",
                               attention.name("alibi_bias_max"), show(attention.at("alibi_bias_max")), kSteepest));
  }
}

void complete_from_gguf(const GgufMetadata& metadata, Json& config) {
  config["attn_config"] = Json::object();
  if (const auto* limit = metadata.find("attention.clamp_kqv")) config["attn_config"]["clip_qkv"] = *limit;
  const auto* steepest = metadata.find("attention.max_alibi_bias");
  if (steepest == nullptr) {
    fail("{} is missing, which means 0 to llama.cpp; {} is supported", metadata.name("attention.max_alibi_bias"),
         kSteepest);
  }
  if (*steepest == kSteepest) return;
  fail("{} is {}, which is not supported; {} is", metadata.name("attention.max_alibi_bias"), show(*steepest),
       kSteepest);
}

void add_keys(const ModelConfig& config, GgufArchitectureKeys& keys) {
  keys.put("attention.max_alibi_bias", kSteepest);
  if (config.query_key_value_clip != 0) keys.put("attention.clamp_kqv", config.query_key_value_clip);
}

}  // namespace

const Family kMpt = {
    .name = "mpt",
    .architectures = {"MptForCausalLM", "MPTForCausalLM"},
    .norm = NormKind::layer,
    .position = Position::alibi,
    .activation = {.key = {}, .fallback = "gelu"},
    .numbers = {{&ModelConfig::hidden, "d_model"},
                {&ModelConfig::layers, "n_layers"},
                {&ModelConfig::heads, "n_heads"},
                {&ModelConfig::key_value_heads, "n_heads"},
                {&ModelConfig::head_size, ""},
                {&ModelConfig::intermediate, "", {}, Fallback(4, &ModelConfig::hidden)},
                {&ModelConfig::context, "max_seq_len", {}, 2048},
                {&ModelConfig::norm_epsilon, "layer_norm_epsilon", "attention.layer_norm_epsilon", 1e-5},
                {&ModelConfig::tied_head, {}, {}, 1}},
    .aliases = {{"hidden_size", "d_model"}, {"num_hidden_layers", "n_layers"}, {"num_attention_heads", "n_heads"}},
    .key_rules = {{"expansion_ratio", KeyRule::Use::only, "4", equals<4>},
                  {"logit_scale", KeyRule::Use::only, "null", nothing_else},
                  {"no_bias", KeyRule::Use::expected, "true", equals<true>},
                  {"learned_pos_emb"},
                  {"norm_type", KeyRule::Use::only, "low_precision_layernorm", is_layer_norm},
                  {"emb_pdrop"},
                  {"resid_pdrop"},
                  {"embedding_fraction"},
                  {"init_config"},
                  {"init_device"},
                  {"use_norm_in_attention"},
                  {"verbose"}},
    .complete = complete,
    .base_prefix = "transformer.",
    .embedding = {"transformer.wte", "token_embd"},
    .final_norm = {"transformer.norm_f", "output_norm"},
    .head = {"lm_head", "output"},
    .block = {"transformer.blocks.{}", "blk.{}"},
    .norms = {{NormRole::attention, "norm_1", "attn_norm"}, {NormRole::mlp, "norm_2", "ffn_norm"}},
    .linears = {{LinearRole::query_key_value, "attn.Wqkv", "attn_qkv"},
                {LinearRole::attention_output, "attn.out_proj", "attn_output"},
                {LinearRole::up, "ffn.up_proj", "ffn_up"},
                {LinearRole::down, "ffn.down_proj", "ffn_down"}},
    .gguf = {.architecture = "mpt",
             .known_keys = {"attention.clamp_kqv", "attention.max_alibi_bias"},
             .complete = complete_from_gguf,
             .add_keys = add_keys},
};

}  // namespace normtweak::model
