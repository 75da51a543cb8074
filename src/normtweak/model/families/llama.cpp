// LLaMA and the models built like it (SmolLM, TinyLlama, Vicuna, ...).
#include "normtweak/model/families/families.h"

namespace normtweak::model {

const Family kLlama = {
    .name = "llama",
    .architectures = {"LlamaForCausalLM"},
    .norm = NormKind::rms,
    .position = Position::rotary,
    .query_key_value_bias = {.key = "attention_bias"},
    .attention_output_bias = {.key = "attention_bias"},
    .mlp_bias = {.key = "mlp_bias"},
    .fallbacks = {.context = 2048, .norm_epsilon = 1e-6, .activation = "silu"},
    .base_prefix = "model.",
    .key_rules = {{"rope_interleaved", KeyRule::Use::expected, "false", equals<false>},
                  {"pretraining_tp"},  // sums in another order; gone from transformers 5
                  {"add_cross_attention"},
                  {"attention_dropout"}},
    .names = {.embedding = "model.embed_tokens",
              .positions = {},
              .final_norm = "model.norm",
              .head = "lm_head",
              .block = "model.layers.{}",
              .attention_norm = "input_layernorm",
              .mlp_norm = "post_attention_layernorm",
              .query_key_value = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
              .attention_output = "self_attn.o_proj",
              .gate = "mlp.gate_proj",
              .up = "mlp.up_proj",
              .down = "mlp.down_proj"},
    .idle_tensors = {"self_attn.rotary_emb.inv_freq"},
    .gguf = {.architecture = "llama",
             .names = {.embedding = "token_embd",
                       .positions = {},
                       .final_norm = "output_norm",
                       .head = "output",
                       .block = "blk.{}",
                       .attention_norm = "attn_norm",
                       .mlp_norm = "ffn_norm",
                       .query_key_value = {"attn_q", "attn_k", "attn_v"},
                       .attention_output = "attn_output",
                       .gate = "ffn_gate",
                       .up = "ffn_up",
                       .down = "ffn_down"},
             .rotary_permuted = true,
             .idle_tensor = "attn_rot_embd.weight",
             .hugging_face_architecture = "LlamaForCausalLM",
             .model_type = "llama"},
};

}  // namespace normtweak::model
