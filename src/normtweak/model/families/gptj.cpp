// GPT-J: attention and MLP read one norm; neighbouring channels of the first rotary_dim are rotated together.
#include "normtweak/base/error.h"
#include "normtweak/model/config_values.h"
#include "normtweak/model/families/families.h"

namespace normtweak::model {
namespace {

constexpr std::string_view kSize = "rotary_dim";

void complete(const ConfigValues& values, ModelConfig& config) {
  if (values.is_null(kSize))
    fail("{}: {} is null, which transformers cannot run either", values.origin(), values.name(kSize));
  if (values.has(kSize)) return;
  constexpr std::int64_t kUsual = 64;
  if (config.head_size < kUsual) {
    fail("{}: {} is missing, and {} is more than the {} channels of a head", values.origin(), values.name(kSize),
         kUsual, config.head_size);
  }
  config.rotary.front().size = kUsual;
}

}  // namespace

const Family kGptj = {
    .name = "gptj",
    .architectures = {"GPTJForCausalLM"},
    .norm = NormKind::layer,
    .topology = Topology::parallel,
    .rotary = {.interleaved = true, .base_key = {}, .size_key = "rotary_dim"},
    .activation = {.key = "activation_function", .fallback = "gelu_new"},
    .numbers = {{&ModelConfig::hidden, "n_embd"},
                {&ModelConfig::layers, "n_layer"},
                {&ModelConfig::heads, "n_head"},
                {&ModelConfig::key_value_heads, "n_head"},
                {&ModelConfig::head_size, ""},
                {&ModelConfig::intermediate, "n_inner", {}, Fallback(4, &ModelConfig::hidden)},
                {&ModelConfig::context, "n_positions", {}, 2048},
                {&ModelConfig::norm_epsilon, "layer_norm_epsilon", {}, 1e-5},
                {&ModelConfig::mlp_bias, {}, {}, 1},
                {&ModelConfig::head_bias, {}, {}, 1},
                {&ModelConfig::norm_bias, {}, {}, 1}},
    .aliases = {{"hidden_size", "n_embd"},
                {"num_hidden_layers", "n_layer"},
                {"num_attention_heads", "n_head"},
                {"max_position_embeddings", "n_positions"}},
    .key_rules = {{"scale_attn_weights"},
                  {"rotary", KeyRule::Use::only, "true", equals<true>},
                  {"n_ctx"},
                  {"attn_pdrop"},
                  {"embd_pdrop"},
                  {"resid_pdrop"},
                  {"summary_activation"},
                  {"summary_first_dropout"},
                  {"summary_proj_to_labels"},
                  {"summary_type"},
                  {"summary_use_proj"}},
    .complete = complete,
    .base_prefix = "transformer.",
    .embedding = {"transformer.wte"},
    .final_norm = {"transformer.ln_f"},
    .head = {"lm_head"},
    .block = {"transformer.h.{}"},
    .norms = {{NormRole::attention, "ln_1"}},
    .linears = {{LinearRole::query, "attn.q_proj"},
                {LinearRole::key, "attn.k_proj"},
                {LinearRole::value, "attn.v_proj"},
                {LinearRole::attention_output, "attn.out_proj"},
                {LinearRole::up, "mlp.fc_in"},
                {LinearRole::down, "mlp.fc_out"}},
    .idle_tensors = {"attn.bias", "attn.masked_bias"},  // the causal mask
};

}  // namespace normtweak::model
