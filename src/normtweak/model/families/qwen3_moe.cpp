// Qwen3 with a mixture of experts in all blocks, or in some.
#include <algorithm>

#include "normtweak/model/config_values.h"
#include "normtweak/model/families/families.h"
#include "normtweak/model/families/shared_rows.h"

namespace normtweak::model {
namespace {

constexpr Range kExperts = {1, 4096}, kSizes = {1, 1 << 24};

bool has_experts(const ModelConfig& /*config*/, const LayerFacts& layer) { return layer.experts; }
bool is_dense(const ModelConfig& /*config*/, const LayerFacts& layer) { return !layer.experts; }

bool has_window(const ConfigValues& values, const ModelConfig& /*config*/, std::int64_t /*layer*/) {
  return values.flag("use_sliding_window", false);
}

void complete(const ConfigValues& values, ModelConfig& config) {
  const auto step = values.has("decoder_sparse_step") ? values.count("decoder_sparse_step", {1, 1 << 20}) : 1;
  const Json dense = values.has("mlp_only_layers") ? values.at("mlp_only_layers") : Json::array();
  values.flag("use_sliding_window", false);
  for (std::size_t i = 0; i < config.layer_facts.size(); ++i) {
    const bool listed = std::ranges::find(dense, Json(i)) != dense.end();
    config.layer_facts[i].experts = !listed && (static_cast<std::int64_t>(i) + 1) % step == 0;
  }
}

// llama.cpp always normalises the shares of the experts.
void complete_from_gguf(const GgufMetadata& /*metadata*/, Json& config) { config["norm_topk_prob"] = true; }

}  // namespace

const Family kQwen3Moe = like_llama({
    .name = "qwen3_moe",
    .architectures = {"Qwen3MoeForCausalLM"},
    .window = {.key = "sliding_window", .fallback = 4096, .applies = has_window},
    .numbers = {{&ModelConfig::context, {}, {}, 32768},
                {&ModelConfig::norm_epsilon, {}, {}, 1e-6},
                {&ModelConfig::key_value_heads, {}, {}, 4},
                {&ModelConfig::intermediate, {}, {}, 6144},
                {&ModelConfig::query_key_value_bias, "attention_bias"},
                {&ModelConfig::attention_output_bias, "attention_bias"},
                {&ModelConfig::experts, "num_experts", "expert_count", 128, kExperts},
                {&ModelConfig::experts_per_token, "num_experts_per_tok", "expert_used_count", 8, kExperts},
                {&ModelConfig::expert_intermediate, "moe_intermediate_size", "expert_feed_forward_length", 768, kSizes},
                {&ModelConfig::normalized_experts, "norm_topk_prob", {}, 0}},
    .aliases = {{"num_local_experts", "num_experts"}},
    .key_rules = {{"output_router_logits"}, {"router_aux_loss_coef"}, {"max_window_layers"}},
    .complete = complete,
    .norms = with_head_norms(llama_norms()),
    .linears = joined(llama_attention(), {{LinearRole::router, "mlp.gate", "ffn_gate_inp", has_experts},
                                          {LinearRole::gate, "mlp.experts.{}.gate_proj", "ffn_gate_exps", has_experts},
                                          {LinearRole::up, "mlp.experts.{}.up_proj", "ffn_up_exps", has_experts},
                                          {LinearRole::down, "mlp.experts.{}.down_proj", "ffn_down_exps", has_experts},
                                          {LinearRole::gate, "mlp.gate_proj", "ffn_gate", is_dense},
                                          {LinearRole::up, "mlp.up_proj", "ffn_up", is_dense},
                                          {LinearRole::down, "mlp.down_proj", "ffn_down", is_dense}}),
    .gguf = {.architecture = "qwen3moe", .complete = complete_from_gguf},
});

}  // namespace normtweak::model
