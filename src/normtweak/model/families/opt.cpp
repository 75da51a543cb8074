// OPT: LayerNorm with bias, learned positions from row 2 on; the 350m model has its norms after each sum, and an
// embedding that is projected.
#include "normtweak/model/config_values.h"
#include "normtweak/model/families/families.h"

namespace normtweak::model {
namespace {

bool is_before(const ModelConfig& config, const LayerFacts& /*layer*/) { return config.topology == Topology::pre_norm; }
bool is_after(const ModelConfig& config, const LayerFacts& /*layer*/) { return config.topology == Topology::post_norm; }

void complete(const ConfigValues& values, ModelConfig& config) {
  const bool before = values.flag("do_layer_norm_before", true);
  const bool removed = values.flag("_remove_final_layer_norm", false);
  config.topology = before ? Topology::pre_norm : Topology::post_norm;
  config.final_norm = before && !removed;
}

}  // namespace

const Family kOpt = {
    .name = "opt",
    .architectures = {"OPTForCausalLM"},
    .norm = NormKind::layer,
    .position = Position::learned,
    .position_offset = 2,
    .activation = {.key = "activation_function", .fallback = "relu"},
    .numbers = {{&ModelConfig::key_value_heads, "num_attention_heads"},
                {&ModelConfig::head_size, ""},
                {&ModelConfig::intermediate, "ffn_dim", {}, 3072},
                {&ModelConfig::context, {}, {}, 2048},
                {&ModelConfig::norm_epsilon, "", {}, 1e-5},
                {&ModelConfig::embedding, "word_embed_proj_dim"},
                {&ModelConfig::tied_head, {}, {}, 1},
                {&ModelConfig::query_key_value_bias, "enable_bias", {}, 1},
                {&ModelConfig::attention_output_bias, "enable_bias", {}, 1},
                {&ModelConfig::mlp_bias, "enable_bias", {}, 1},
                {&ModelConfig::norm_bias, {}, {}, 1}},
    .key_rules = {{"dropout"},
                  {"activation_dropout"},
                  {"init_std"},
                  {"layerdrop"},
                  {"output_projection"},
                  {"layer_norm_elementwise_affine", KeyRule::Use::only, "true", equals<true>}},
    .complete = complete,
    .base_prefix = "model.",
    .embedding = {"model.decoder.embed_tokens"},
    .positions = {"model.decoder.embed_positions"},
    .project_in = {"model.decoder.project_in"},
    .project_out = {"model.decoder.project_out"},
    .final_norm = {"model.decoder.final_layer_norm"},
    .head = {"lm_head"},
    .block = {"model.decoder.layers.{}"},
    .norms = {{NormRole::attention, "self_attn_layer_norm", {}, is_before},
              {NormRole::attention_output, "self_attn_layer_norm", {}, is_after},
              {NormRole::mlp, "final_layer_norm", {}, is_before},
              {NormRole::mlp_output, "final_layer_norm", {}, is_after}},
    .linears = {{LinearRole::query, "self_attn.q_proj"},
                {LinearRole::key, "self_attn.k_proj"},
                {LinearRole::value, "self_attn.v_proj"},
                {LinearRole::attention_output, "self_attn.out_proj"},
                {LinearRole::up, "fc1"},
                {LinearRole::down, "fc2"}},
};

}  // namespace normtweak::model
