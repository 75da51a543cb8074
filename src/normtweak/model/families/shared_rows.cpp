#include "normtweak/model/families/shared_rows.h"

#include <cmath>

#include "normtweak/model/config_values.h"

namespace normtweak::model {
namespace {

void name(PartName& part, PartName usual) {
  if (part.name.empty()) part = usual;
}

}  // namespace

Family like_llama(Family facts) {
  if (facts.base_prefix.empty()) facts.base_prefix = "model.";
  name(facts.embedding, {"model.embed_tokens", "token_embd"});
  name(facts.final_norm, {"model.norm", "output_norm"});
  name(facts.head, {"lm_head", "output"});
  name(facts.block, {"model.layers.{}", "blk.{}"});
  if (facts.norms.empty()) facts.norms = llama_norms();
  if (facts.linears.empty()) facts.linears = joined(llama_attention(), llama_mlp());
  return facts;
}

std::vector<NormRow> llama_norms() {
  return {{NormRole::attention, "input_layernorm", "attn_norm"},
          {NormRole::mlp, "post_attention_layernorm", "ffn_norm"}};
}

std::vector<NormRow> sandwich_norms() {
  return {{NormRole::attention, "input_layernorm", "attn_norm"},
          {NormRole::attention_output, "post_attention_layernorm", "post_attention_norm"},
          {NormRole::mlp, "pre_feedforward_layernorm", "ffn_norm"},
          {NormRole::mlp_output, "post_feedforward_layernorm", "post_ffw_norm"}};
}

std::vector<NormRow> with_head_norms(std::vector<NormRow> rows) {
  rows.push_back({NormRole::query, "self_attn.q_norm", "attn_q_norm"});
  rows.push_back({NormRole::key, "self_attn.k_norm", "attn_k_norm"});
  return rows;
}

std::vector<LinearRow> llama_attention() {
  return {{LinearRole::query, "self_attn.q_proj", "attn_q"},
          {LinearRole::key, "self_attn.k_proj", "attn_k"},
          {LinearRole::value, "self_attn.v_proj", "attn_v"},
          {LinearRole::attention_output, "self_attn.o_proj", "attn_output"}};
}

std::vector<LinearRow> llama_mlp() {
  return {{LinearRole::gate, "mlp.gate_proj", "ffn_gate"},
          {LinearRole::up, "mlp.up_proj", "ffn_up"},
          {LinearRole::down, "mlp.down_proj", "ffn_down"}};
}

std::vector<LinearRow> joined(std::vector<LinearRow> first, const std::vector<LinearRow>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

bool has_window_as_qwen(const ConfigValues& values, const ModelConfig& /*config*/, std::int64_t layer) {
  constexpr std::string_view kFirst = "max_window_layers";
  const auto first = values.has(kFirst) ? values.count(kFirst, {0, 1 << 20}) : 28;
  return values.flag("use_sliding_window", false) && layer >= first;
}

void set_gemma_factors(const ConfigValues& values, ModelConfig& config) {
  constexpr Range kFactors = {1e-6, 1e6};
  config.embedding_scale = std::sqrt(static_cast<double>(config.hidden));
  config.attention_scale = 1 / std::sqrt(values.has(kGemmaScalar) ? values.number(kGemmaScalar, kFactors) : 256);
}

}  // namespace normtweak::model
