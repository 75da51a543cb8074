// Phi-3 and Phi-4: LLaMA with query, key and value in one linear, and gate and up in another.
#include "normtweak/base/error.h"
#include "normtweak/model/config_values.h"
#include "normtweak/model/families/families.h"
#include "normtweak/model/families/shared_rows.h"
#include "normtweak/model/gguf_keys.h"
#include "normtweak/model/gguf_metadata.h"

namespace normtweak::model {
namespace {

// As in transformers, which knows no other scaling for this family.
void complete(const ConfigValues& values, ModelConfig& config) {
  using Kind = RotaryScaling::Kind;
  for (const auto& rotary : config.rotary) {
    if (rotary.scaling.kind == Kind::none || rotary.scaling.kind == Kind::longrope) continue;
    fail("{}: the rotary scaling is not supported in this family; default and longrope are", values.origin());
  }
}

void complete_from_gguf(const GgufMetadata& metadata, Json& config) {
  const auto* window = metadata.find("attention.sliding_window");
  if (window != nullptr && *window != 0) config["sliding_window"] = *window;
}

// llama.cpp asks for the original context, and tells models apart by a window of 0.
void add_keys(const ModelConfig& config, GgufArchitectureKeys& keys) {
  const auto& scaling = config.rotary.front().scaling;
  if (scaling.kind == RotaryScaling::Kind::none) keys.put("rope.scaling.original_context_length", config.context);
  keys.put("attention.sliding_window", config.layer_facts.front().window);
}

}  // namespace

const Family kPhi3 = like_llama({
    .name = "phi3",
    .architectures = {"Phi3ForCausalLM"},
    .rotary = {.share_key = "partial_rotary_factor"},
    .window = {.key = "sliding_window"},
    .numbers = {{&ModelConfig::context, {}, {}, 4096},
                {&ModelConfig::norm_epsilon, {}, {}, 1e-5},
                {&ModelConfig::intermediate, {}, {}, 8192}},
    .key_rules = {{"embd_pdrop"}, {"resid_pdrop"}},
    .complete = complete,
    .linears = {{LinearRole::query_key_value, "self_attn.qkv_proj", "attn_qkv"},
                {LinearRole::attention_output, "self_attn.o_proj", "attn_output"},
                {LinearRole::gate_up, "mlp.gate_up_proj", "ffn_up"},
                {LinearRole::down, "mlp.down_proj", "ffn_down"}},
    .gguf = {.architecture = "phi3",
             .known_keys = {"attention.sliding_window", "rope.scaling.attn_factor"},
             .complete = complete_from_gguf,
             .add_keys = add_keys},
});

}  // namespace normtweak::model
