// Falcon in its three layouts: one key-value head (7b), several (40b), and as many as queries with ALiBi (rw).
#include <cmath>

#include "normtweak/base/error.h"
#include "normtweak/model/config_values.h"
#include "normtweak/model/families/families.h"
#include "normtweak/model/gguf_keys.h"
#include "normtweak/model/gguf_metadata.h"

namespace normtweak::model {
namespace {

constexpr Range kHeads = {1, 1 << 24};

bool is_sequential(const ModelConfig& config, const LayerFacts& /*layer*/) {
  return config.topology == Topology::pre_norm;
}
bool has_two_norms(const ModelConfig& config, const LayerFacts& /*layer*/) { return config.two_norms; }
bool has_one_name(const ModelConfig& config, const LayerFacts& /*layer*/) { return !config.two_norms; }

// Heads and the order of their rows.
void read_heads(const ConfigValues& values, bool is_new, ModelConfig& config) {
  const bool one_shared = values.flag("multi_query", true);
  const bool given = values.has("num_kv_heads");
  if (is_new) {
    config.key_value_heads = given ? values.count("num_kv_heads", kHeads) : config.heads;
  } else {
    config.key_value_heads = one_shared ? 1 : config.heads;
  }
  config.query_key_value_order = RowOrder::groups;
}

void complete(const ConfigValues& values, ModelConfig& config) {
  const bool is_new = values.flag("new_decoder_architecture", false), parallel = values.flag("parallel_attn", true);
  const bool has_count = values.has("num_ln_in_parallel_attn");
  const auto norms = has_count ? values.count("num_ln_in_parallel_attn", {1, 2}) : (is_new ? 2 : 1);
  if (is_new && !parallel) {
    fail("{}: `parallel_attn` is false beside `new_decoder_architecture`, which transformers cannot run either",
         values.origin());
  }
  if (!is_new && norms == 2) {
    fail("{}: `num_ln_in_parallel_attn` is 2 without `new_decoder_architecture`, which transformers cannot run either",
         values.origin());
  }
  config.two_norms = norms == 2;
  config.topology = parallel ? Topology::parallel : Topology::pre_norm;
  read_heads(values, is_new, config);
  if (!values.flag("alibi", false)) return;
  config.rotary.clear();
  for (auto& layer : config.layer_facts) layer.rotary = -1;
  config.alibi_largest = 8;
  config.alibi_in_bf16 = true;
  config.alibi_scale = 1 / std::sqrt(static_cast<double>(config.head_size));
}

// llama.cpp knows the parallel layouts. Two norms and several key-value heads go together.
void complete_from_gguf(const GgufMetadata& metadata, Json& config) {
  constexpr std::string_view kShared = "attention.head_count_kv";
  const Json count = metadata.get_shared(metadata.find(kShared) == nullptr ? "attention.head_count" : kShared);
  config["multi_query"] = true;
  config["parallel_attn"] = true;
  const bool two_norms = metadata.has_tensor("blk.0.attn_norm_2.weight");
  config["new_decoder_architecture"] = count > 1 || two_norms;
  config["num_ln_in_parallel_attn"] = two_norms ? 2 : 1;
  config["num_kv_heads"] = count;
}

void add_keys(const ModelConfig& config, GgufArchitectureKeys& keys) {
  keys.put("attention.head_count_kv", config.key_value_heads);
  keys.put("tensor_data_layout", "jploski");  // the name of rows q | k | v there
}

}  // namespace

const Family kFalcon = {
    .name = "falcon",
    .architectures = {"FalconForCausalLM"},
    .norm = NormKind::layer,
    .topology = Topology::parallel,
    .activation = {.key = "activation", .fallback = "gelu"},
    .numbers = {{&ModelConfig::key_value_heads, ""},
                {&ModelConfig::head_size, ""},
                {&ModelConfig::intermediate, "ffn_hidden_size", {}, Fallback(4, &ModelConfig::hidden)},
                {&ModelConfig::context, {}, {}, 2048},
                {&ModelConfig::norm_epsilon, "layer_norm_epsilon", "attention.layer_norm_epsilon", 1e-5},
                {&ModelConfig::tied_head, {}, {}, 1},
                {&ModelConfig::query_key_value_bias, "bias"},
                {&ModelConfig::attention_output_bias, "bias"},
                {&ModelConfig::mlp_bias, "bias"},
                {&ModelConfig::norm_bias, {}, {}, 1}},
    .aliases = {{"n_embed", "hidden_size"},
                {"n_layer", "num_hidden_layers"},
                {"n_head", "num_attention_heads"},
                {"n_head_kv", "num_kv_heads"}},
    .key_rules = {{"apply_residual_connection_post_layernorm", KeyRule::Use::only, "false", equals<false>}},
    .complete = complete,
    .base_prefix = "transformer.",
    .embedding = {"transformer.word_embeddings", "token_embd"},
    .final_norm = {"transformer.ln_f", "output_norm"},
    .head = {"lm_head", "output"},
    .block = {"transformer.h.{}", "blk.{}"},
    .norms = {{NormRole::attention, "ln_attn", "attn_norm_2", has_two_norms},
              {NormRole::mlp, "ln_mlp", "attn_norm", has_two_norms},
              {NormRole::attention, "input_layernorm", "attn_norm", has_one_name},
              {NormRole::mlp, "post_attention_layernorm", {}, is_sequential}},
    .linears = {{LinearRole::query_key_value, "self_attention.query_key_value", "attn_qkv"},
                {LinearRole::attention_output, "self_attention.dense", "attn_output"},
                {LinearRole::up, "mlp.dense_h_to_4h", "ffn_up"},
                {LinearRole::down, "mlp.dense_4h_to_h", "ffn_down"}},
    .gguf = {.architecture = "falcon",
             .known_keys = {"attention.head_count_kv", "tensor_data_layout"},
             .complete = complete_from_gguf,
             .add_keys = add_keys},
};

}  // namespace normtweak::model
