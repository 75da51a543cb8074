// Phi (1, 1.5 and 2): attention and MLP read one norm, half of each head is rotated, everything has a bias.
#include "normtweak/model/families/families.h"
#include "normtweak/model/families/shared_rows.h"

namespace normtweak::model {
namespace {

bool has_head_norms(const ModelConfig& config, const LayerFacts& /*layer*/) { return config.query_key_norms; }

}  // namespace

const Family kPhi = like_llama({
    .name = "phi",
    .architectures = {"PhiForCausalLM"},
    .norm = NormKind::layer,
    .topology = Topology::parallel,
    .rotary = {.share = 0.5, .share_key = "partial_rotary_factor"},
    .activation = {.key = "hidden_act", .fallback = "gelu_new"},
    .numbers = {{&ModelConfig::context, {}, {}, 2048},
                {&ModelConfig::norm_epsilon, "layer_norm_eps", "attention.layer_norm_epsilon", 1e-5},
                {&ModelConfig::intermediate, {}, {}, 8192},
                {&ModelConfig::query_key_value_bias, {}, {}, 1},
                {&ModelConfig::attention_output_bias, {}, {}, 1},
                {&ModelConfig::mlp_bias, {}, {}, 1},
                {&ModelConfig::head_bias, {}, {}, 1},
                {&ModelConfig::norm_bias, {}, {}, 1},
                {&ModelConfig::query_key_norms, "qk_layernorm"}},
    .key_rules = {{"embd_pdrop"}, {"resid_pdrop"}},
    .final_norm = {"model.final_layernorm", "output_norm"},
    .norms = {{NormRole::attention, "input_layernorm", "attn_norm"},
              {NormRole::query, "self_attn.q_layernorm", {}, has_head_norms},
              {NormRole::key, "self_attn.k_layernorm", {}, has_head_norms}},
    .linears = {{LinearRole::query, "self_attn.q_proj", "attn_q"},
                {LinearRole::key, "self_attn.k_proj", "attn_k"},
                {LinearRole::value, "self_attn.v_proj", "attn_v"},
                {LinearRole::attention_output, "self_attn.dense", "attn_output"},
                {LinearRole::up, "mlp.fc1", "ffn_up"},
                {LinearRole::down, "mlp.fc2", "ffn_down"}},
    .gguf = {.architecture = "phi2"},
});

}  // namespace normtweak::model
