// Cohere (Command-R): attention and MLP read one LayerNorm without bias; neighbouring channels are rotated together.
#include "normtweak/model/families/families.h"
#include "normtweak/model/families/shared_rows.h"
#include "normtweak/model/gguf_keys.h"
#include "normtweak/model/gguf_metadata.h"

namespace normtweak::model {
namespace {

// Without the key, or with 0, llama.cpp leaves logits as they are.
void complete_from_gguf(const GgufMetadata& metadata, Json& config) {
  const auto* scale = metadata.find("logit_scale");
  if (scale == nullptr || *scale == 0) config["logit_scale"] = 1;
}

bool has_head_norms(const ModelConfig& config, const LayerFacts& /*layer*/) { return config.query_key_norms; }

void add_keys(const ModelConfig& /*config*/, GgufArchitectureKeys& keys) { keys.put("rope.scaling.type", "none"); }

}  // namespace

const Family kCohere = like_llama({
    .name = "cohere",
    .architectures = {"CohereForCausalLM"},
    .norm = NormKind::layer,
    .topology = Topology::parallel,
    .head_norm = HeadNorm::own,
    .rotary = {.interleaved = true, .base = 500000},
    .numbers = {{&ModelConfig::context, {}, {}, 8192},
                {&ModelConfig::norm_epsilon, "layer_norm_eps", "attention.layer_norm_epsilon", 1e-5},
                {&ModelConfig::intermediate, {}, {}, 22528},
                {&ModelConfig::tied_head, {}, {}, 1},
                {&ModelConfig::query_key_value_bias, "attention_bias"},
                {&ModelConfig::attention_output_bias, "attention_bias"},
                {&ModelConfig::query_key_norms, "use_qk_norm"},
                {&ModelConfig::logit_scale, "logit_scale", "logit_scale", 0.0625, Range{1e-6, 1e6}}},
    .norms = {{NormRole::attention, "input_layernorm", "attn_norm"},
              {NormRole::query, "self_attn.q_norm", "attn_q_norm", has_head_norms},
              {NormRole::key, "self_attn.k_norm", "attn_k_norm", has_head_norms}},
    .gguf = {.architecture = "command-r", .complete = complete_from_gguf, .add_keys = add_keys},
});

}  // namespace normtweak::model
