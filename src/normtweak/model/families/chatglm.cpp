// ChatGLM2, ChatGLM3 and GLM-4 with the code of their own repositories: GLM with query, key and value in one linear.
#include "normtweak/base/error.h"
#include "normtweak/model/config_values.h"
#include "normtweak/model/families/families.h"
#include "normtweak/model/gguf_metadata.h"

namespace normtweak::model {
namespace {

constexpr std::string_view kRatio = "rope_ratio", kShared = "multi_query_attention";
constexpr double kBase = 10000;
constexpr Range kRatios = {1e-4, 1e26};

// The family's code knows no scaling but a longer base.
void read_base(const ConfigValues& values, Rotary& rotary) {
  for (const std::string_view key : {"rope_scaling", "rope_parameters"}) {
    if (!values.has(key) || values.at(key).empty()) continue;
    fail("{}: {} is {}, which this family does not have; `{}` says how much longer the base is", values.origin(),
         values.name(key), show(values.at(key)), kRatio);
  }
  const double ratio = values.has(kRatio) ? values.number(kRatio, kRatios) : 1;
  rotary.base = kBase * ratio;
  if (ratio == 1) return;
  values.note(
      fmt::format("{} is {:g}, by which the rotary base is multiplied, as in ChatGLM3 and GLM-4; the code of "
                  "chatglm2-6b-32k divides positions by it",
                  values.name(kRatio), ratio));
}

void complete(const ConfigValues& values, ModelConfig& config) {
  read_base(values, config.rotary.front());
  config.query_key_value_bias = config.query_key_value_bias || config.mlp_bias;
  if (values.flag(kShared, false)) return;
  config.key_value_heads = config.heads;  // whatever the number of groups
  config.query_key_value_order = RowOrder::groups;
}

// GLM, of the same architecture, has three linears.
bool has_fused_rows(const GgufMetadata& metadata) { return metadata.has_tensor("blk.0.attn_qkv.weight"); }

// llama.cpp takes the rows one after the other, and has the base itself.
void complete_from_gguf(const GgufMetadata& metadata, Json& config) {
  config[std::string(kShared)] = true;
  const auto* base = metadata.find("rope.freq_base");
  if (base == nullptr) return;
  config[std::string(kRatio)] = base->is_number() ? Json(base->get<double>() / kBase) : *base;
}

bool never(const Json& /*value*/, const Json& /*config*/, const ModelConfig& /*numbers*/) { return false; }
bool is_vocabulary(const Json& value, const Json& /*config*/, const ModelConfig& numbers) {
  return value == numbers.vocabulary;
}
bool is_number_of_layers(const Json& value, const Json& /*config*/, const ModelConfig& numbers) {
  return value == numbers.layers;
}

}  // namespace

const Family kChatglm = {
    .name = "chatglm",
    .architectures = {"ChatGLMForConditionalGeneration", "ChatGLMModel"},
    .rotary = {.interleaved = true, .base = kBase, .base_key = {}, .share = 0.5},
    .activation = {.key = {}},
    .numbers = {{&ModelConfig::layers, "num_layers"},
                {&ModelConfig::key_value_heads, "multi_query_group_num", {}, 1},
                {&ModelConfig::head_size, "kv_channels", {}, 128},
                {&ModelConfig::intermediate, "ffn_hidden_size", {}, 13696},
                {&ModelConfig::vocabulary, "padded_vocab_size"},
                {&ModelConfig::context, "seq_length", {}, 2048},
                {&ModelConfig::norm_epsilon, "layernorm_epsilon", {}, 1e-5},
                {&ModelConfig::tied_head, ""},
                {&ModelConfig::query_key_value_bias, "add_qkv_bias"},
                {&ModelConfig::attention_output_bias, "add_bias_linear"},
                {&ModelConfig::mlp_bias, "add_bias_linear"},
                {&ModelConfig::residual_of_norms, "apply_residual_connection_post_layernorm", {}, 0},
                {&ModelConfig::final_norm, "post_layer_norm", {}, 1}},
    .key_rules = {{"apply_query_key_layer_scaling"},  // the products are divided by it, and multiplied again
                  {"attention_softmax_in_fp32"},
                  {"bias_dropout_fusion"},
                  {"fp32_residual_connection"},
                  {"prefix_projection"},  // of pre_seq_len
                  {"interleaved_qkv", KeyRule::Use::only, "false", equals<false>},
                  {"num_hidden_layers", KeyRule::Use::expected, "`num_layers`", is_number_of_layers},
                  {"original_rope", KeyRule::Use::only, "true", equals<true>},
                  {"position_encoding_2d", KeyRule::Use::only, "false", equals<false>},  // of the first ChatGLM
                  {"pre_seq_len", KeyRule::Use::only, "null", never},
                  {"quantization_bit", KeyRule::Use::only, "0", equals<0>},
                  {"rmsnorm", KeyRule::Use::only, "true", equals<true>},
                  {"tie_word_embeddings", KeyRule::Use::only, "false", equals<false>},
                  {"vocab_size", KeyRule::Use::expected, "`padded_vocab_size`", is_vocabulary}},
    .complete = complete,
    .base_prefix = "transformer.",
    .embedding = {"transformer.embedding.word_embeddings", "token_embd"},
    .final_norm = {"transformer.encoder.final_layernorm", "output_norm"},
    .head = {"transformer.output_layer", "output"},
    .block = {"transformer.encoder.layers.{}", "blk.{}"},
    .norms = {{NormRole::attention, "input_layernorm", "attn_norm"},
              {NormRole::mlp, "post_attention_layernorm", "ffn_norm"}},
    .linears = {{LinearRole::query_key_value, "self_attention.query_key_value", "attn_qkv"},
                {LinearRole::attention_output, "self_attention.dense", "attn_output"},
                {LinearRole::gate_up, "mlp.dense_h_to_4h", "ffn_up"},
                {LinearRole::down, "mlp.dense_4h_to_h", "ffn_down"}},
    .gguf = {.architecture = "chatglm", .owns = has_fused_rows, .complete = complete_from_gguf},
};

}  // namespace normtweak::model
