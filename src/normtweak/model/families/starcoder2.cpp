// StarCoder2: Mistral with LayerNorms and biases, and an MLP without a gate.
#include "normtweak/model/families/families.h"
#include "normtweak/model/families/shared_rows.h"

namespace normtweak::model {
namespace {

bool is_plain_mlp(const Json& value, const Json& /*config*/, const ModelConfig& /*numbers*/) {
  return value == "default";
}
bool is_layer_norm(const Json& value, const Json& /*config*/, const ModelConfig& /*numbers*/) {
  return value == "layer_norm";
}

}  // namespace

const Family kStarcoder2 = like_llama({
    .name = "starcoder2",
    .architectures = {"Starcoder2ForCausalLM"},
    .norm = NormKind::layer,
    .window = {.key = "sliding_window"},
    .activation = {.key = "hidden_act", .fallback = "gelu_pytorch_tanh"},
    .numbers = {{&ModelConfig::context, {}, {}, 4096},
                {&ModelConfig::norm_epsilon, "norm_epsilon", "attention.layer_norm_epsilon", 1e-5},
                {&ModelConfig::key_value_heads, {}, {}, 2},
                {&ModelConfig::intermediate, {}, {}, 12288},
                {&ModelConfig::tied_head, {}, {}, 1},
                {&ModelConfig::query_key_value_bias, "use_bias", {}, 1},
                {&ModelConfig::attention_output_bias, "use_bias", {}, 1},
                {&ModelConfig::mlp_bias, "use_bias", {}, 1},
                {&ModelConfig::norm_bias, {}, {}, 1}},
    .key_rules = {{"embedding_dropout"},
                  {"residual_dropout"},
                  // of the first checkpoints
                  {"activation_function"},  // hidden_act counts
                  {"attention_softmax_in_fp32"},
                  {"layer_norm_epsilon"},  // norm_epsilon counts
                  {"scale_attention_softmax_in_fp32"},
                  {"mlp_type", KeyRule::Use::expected, "\"default\"", is_plain_mlp},
                  {"norm_type", KeyRule::Use::expected, "\"layer_norm\"", is_layer_norm},
                  {"scale_attn_weights", KeyRule::Use::expected, "true", equals<true>}},
    .linears = joined(llama_attention(),
                      {{LinearRole::up, "mlp.c_fc", "ffn_up"}, {LinearRole::down, "mlp.c_proj", "ffn_down"}}),
    .gguf = {.architecture = "starcoder2"},
});

}  // namespace normtweak::model
