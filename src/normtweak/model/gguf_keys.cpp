#include "normtweak/model/gguf_keys.h"

#include <limits>

#include "normtweak/base/error.h"
#include "normtweak/model/hyperparameters.h"

namespace normtweak::model {
namespace {

using Config = ModelConfig;
using Scaling = RotaryScaling;

// The value of a row's field. Sizes that llama.cpp derives in the same way are left out.
void add_row(const Hyperparameter& row, const Config& config, GgufArchitectureKeys& keys) {
  const auto key = row.gguf.value_or("");
  if (key.empty()) return;
  if (const auto* count = std::get_if<std::int64_t Config::*>(&row.field)) {
    keys.put(key, config.*(*count));
  } else if (const auto* number = std::get_if<double Config::*>(&row.field)) {
    if (config.*(*number) != 0) keys.put(key, config.*(*number));  // 0 stands for none
  } else if (const auto* flag = std::get_if<bool Config::*>(&row.field)) {
    keys.put(key, config.*(*flag));
  }
}

void add_yarn(const Scaling& scaling, GgufArchitectureKeys& keys) {
  const Scaling usual;
  keys.put("rope.scaling.type", "yarn");
  keys.put("rope.scaling.factor", scaling.factor);
  keys.put("rope.scaling.original_context_length", static_cast<std::int64_t>(scaling.original_context));
  if (scaling.beta_fast != usual.beta_fast) keys.put("rope.scaling.yarn_beta_fast", scaling.beta_fast);
  if (scaling.beta_slow != usual.beta_slow) keys.put("rope.scaling.yarn_beta_slow", scaling.beta_slow);
}

// llama3 and longrope have tensors of divisors instead (gguf_rotary.h).
void add_scaling(const Scaling& scaling, GgufArchitectureKeys& keys) {
  if (scaling.kind == Scaling::Kind::linear) {
    keys.put("rope.scaling.type", "linear");
    keys.put("rope.scaling.factor", scaling.factor);
  } else if (scaling.kind == Scaling::Kind::yarn) {
    add_yarn(scaling, keys);
  } else if (scaling.kind == Scaling::Kind::longrope) {
    keys.put("rope.scaling.original_context_length", static_cast<std::int64_t>(scaling.original_context));
    keys.put("rope.scaling.attn_factor", scaling.attention_factor);
  }
}

}  // namespace

void GgufArchitectureKeys::put(std::string_view key, std::int64_t count) {
  if (count < 0 || count > std::numeric_limits<std::uint32_t>::max())
    fail("{}: {} does not fit into a u32", key, count);
  keys_.put(name(key), static_cast<std::uint32_t>(count));
}

void check_has_gguf_architecture(const Checkpoint& checkpoint) {
  if (!checkpoint.family->gguf.architecture.empty()) return;
  fail(
      "{}: {} models have no GGUF files, since llama.cpp does not have them; --format hf writes weights for other "
      "programs",
      checkpoint.path, checkpoint.family->name);
}

void add_hyperparameters(const Checkpoint& checkpoint, formats::GgufKeys& keys) {
  const auto& family = *checkpoint.family;
  const auto& config = checkpoint.numbers;
  GgufArchitectureKeys own(keys, family.gguf.architecture);
  for (const auto& row : hyperparameters(family)) {
    const bool is_of_head = row.field == Hyperparameter::Field(&Config::head_size);
    if (!is_of_head) add_row(row, config, own);
  }
  own.put("vocab_size", config.vocabulary);
  if (config.head_size * config.heads != config.hidden || !key_of(family, &Config::head_size).empty()) {
    own.put("attention.key_length", config.head_size);
    own.put("attention.value_length", config.head_size);
  }
  if (!config.rotary.empty()) {
    const auto& rotary = config.rotary.front();  // that of full attention
    own.put("rope.dimension_count", rotary.size);
    own.put("rope.freq_base", rotary.base);
    add_scaling(rotary.scaling, own);
  }
  if (family.gguf.add_keys != nullptr) family.gguf.add_keys(config, own);
}

}  // namespace normtweak::model
