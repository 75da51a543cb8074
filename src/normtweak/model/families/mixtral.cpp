// Mixtral: Mistral with a mixture of experts in each block.
#include "normtweak/model/families/families.h"
#include "normtweak/model/families/shared_rows.h"
#include "normtweak/model/gguf_metadata.h"

namespace normtweak::model {
namespace {

constexpr Range kExperts = {1, 4096};

void complete(const ConfigValues& /*values*/, ModelConfig& config) {
  config.expert_intermediate = config.intermediate;
  for (auto& layer : config.layer_facts) layer.experts = true;
}

// LLaMA, of the same architecture, has none.
bool has_experts(const GgufMetadata& metadata) {
  const auto* count = metadata.find("expert_count");
  return count != nullptr && *count != 0;
}

}  // namespace

const Family kMixtral = like_llama({
    .name = "mixtral",
    .architectures = {"MixtralForCausalLM"},
    .rotary = {.base = 1000000},
    .window = {.key = "sliding_window"},
    .numbers = {{&ModelConfig::context, {}, {}, 131072},
                {&ModelConfig::norm_epsilon, {}, {}, 1e-5},
                {&ModelConfig::key_value_heads, {}, {}, 8},
                {&ModelConfig::intermediate, {}, {}, 14336},
                {&ModelConfig::experts, "num_local_experts", "expert_count", 8, kExperts},
                {&ModelConfig::experts_per_token, "num_experts_per_tok", "expert_used_count", 2, kExperts}},
    .aliases = {{"num_experts", "num_local_experts"}},
    .key_rules = {{"output_router_logits"},  // of training
                  {"router_aux_loss_coef"},
                  {"router_jitter_noise"}},
    .complete = complete,
    .linears = joined(llama_attention(), {{LinearRole::router, "block_sparse_moe.gate", "ffn_gate_inp"},
                                          {LinearRole::gate, "block_sparse_moe.experts.{}.w1", "ffn_gate_exps"},
                                          {LinearRole::up, "block_sparse_moe.experts.{}.w3", "ffn_up_exps"},
                                          {LinearRole::down, "block_sparse_moe.experts.{}.w2", "ffn_down_exps"}}),
    .gguf = {.architecture = "llama", .rotary_permuted = true, .owns = has_experts},
});

}  // namespace normtweak::model
