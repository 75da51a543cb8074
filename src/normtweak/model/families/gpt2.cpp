// GPT-2: LayerNorm with bias, learned positions, one fused linear for query, key and value, transposed weights.
#include "normtweak/model/families/families.h"

namespace normtweak::model {

const Family kGpt2 = {
    .name = "gpt2",
    .architectures = {"GPT2LMHeadModel"},
    .norm = NormKind::layer,
    .position = Position::learned,
    .linear_layout = Layout::in_out,
    .activation = {.key = "activation_function", .fallback = "gelu_new"},
    .numbers = {{&ModelConfig::hidden, "n_embd"},
                {&ModelConfig::layers, "n_layer"},
                {&ModelConfig::heads, "n_head"},
                {&ModelConfig::key_value_heads, "n_head"},
                {&ModelConfig::head_size, ""},
                {&ModelConfig::intermediate, "n_inner", {}, Fallback(4, &ModelConfig::hidden)},
                {&ModelConfig::context, "n_positions", {}, 1024},
                {&ModelConfig::norm_epsilon, "layer_norm_epsilon", "attention.layer_norm_epsilon", 1e-5},
                {&ModelConfig::tied_head, {}, {}, 1},
                {&ModelConfig::query_key_value_bias, {}, {}, 1},
                {&ModelConfig::attention_output_bias, {}, {}, 1},
                {&ModelConfig::mlp_bias, {}, {}, 1},
                {&ModelConfig::norm_bias, {}, {}, 1}},
    .aliases = {{"hidden_size", "n_embd"},
                {"num_hidden_layers", "n_layer"},
                {"num_attention_heads", "n_head"},
                {"max_position_embeddings", "n_positions"}},
    .key_rules = {{"scale_attn_weights", KeyRule::Use::only, "true", equals<true>},
                  {"scale_attn_by_inverse_layer_idx", KeyRule::Use::only, "false", equals<false>},
                  {"add_cross_attention", KeyRule::Use::only, "false", equals<false>},
                  {"reorder_and_upcast_attn"},  // the same products in another order
                  {"n_ctx"},                    // the context is n_positions
                  {"n_special"},
                  {"predict_special_tokens"},
                  {"attn_pdrop"},
                  {"embd_pdrop"},
                  {"resid_pdrop"},
                  {"summary_activation"},  // of heads for other tasks
                  {"summary_first_dropout"},
                  {"summary_proj_to_labels"},
                  {"summary_type"},
                  {"summary_use_proj"}},
    .base_prefix = "transformer.",
    .embedding = {"transformer.wte", "token_embd"},
    .positions = {"transformer.wpe", "position_embd"},
    .final_norm = {"transformer.ln_f", "output_norm"},
    .head = {"lm_head", "output"},
    .block = {"transformer.h.{}", "blk.{}"},
    .norms = {{NormRole::attention, "ln_1", "attn_norm"}, {NormRole::mlp, "ln_2", "ffn_norm"}},
    .linears = {{LinearRole::query_key_value, "attn.c_attn", "attn_qkv"},
                {LinearRole::attention_output, "attn.c_proj", "attn_output"},
                {LinearRole::up, "mlp.c_fc", "ffn_up"},
                {LinearRole::down, "mlp.c_proj", "ffn_down"}},
    .idle_tensors = {"attn.bias", "attn.masked_bias"},  // the causal mask
    .gguf = {.architecture = "gpt2"},
};

}  // namespace normtweak::model
