#include "normtweak/model/attention.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace normtweak::model {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

// In F32 on a GPU, torch's fused attention kernel does not support shared key-value heads. Its math path materialises
// all scores and takes four times as long as the fused kernel on repeated keys and values. The backward pass of the
// fused kernel is not deterministic.
bool wants_repeated_heads(const at::Tensor& query) {
  if (!query.is_cuda() || query.scalar_type() != at::kFloat) return false;
  const bool needs_gradient = at::GradMode::is_enabled() && query.requires_grad();
  return !(needs_gradient && at::globalContext().deterministicAlgorithms());
}

// ALiBi for the last `queries` of the tokens: [heads, queries, tokens]. Relative to each query's own position, which
// changes no softmax, so that what is near has small numbers, which 16 bits hold best.
at::Tensor alibi_bias(std::int64_t queries, std::int64_t tokens, const ModelConfig& config,
                      const at::TensorOptions& type) {
  const auto slopes = alibi_slopes(config).to(type.device()).unsqueeze(1);
  auto bias = slopes * at::arange(tokens, slopes.options());
  if (config.alibi_in_bf16)
    bias = (slopes.to(at::kBFloat16).to(at::kFloat) * at::arange(tokens, slopes.options())).to(at::kBFloat16);
  bias = bias.to(at::kFloat) * config.alibi_scale;
  return (bias.unsqueeze(1) - bias.narrow(1, tokens - queries, queries).unsqueeze(2)).to(type);
}

// bool [tokens, tokens]: neither later tokens nor those before the window.
at::Tensor visible(std::int64_t tokens, std::int64_t window, c10::Device device) {
  auto mask = at::ones({tokens, tokens}, at::TensorOptions(at::kBool).device(device)).tril_();
  return window > 0 ? mask.triu_(1 - window) : mask;
}

// With the scores in full, since no fused kernel caps them.
at::Tensor attend_capped(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                         const at::Tensor& mask, const ModelConfig& config) {
  const auto scores = at::matmul(query, key.transpose(-1, -2)).to(at::kFloat) * config.attention_scale;
  const auto capped = at::tanh(scores / config.attention_cap) * config.attention_cap;
  const auto seen = mask.defined() ? capped.masked_fill(mask.logical_not(), kNever) : capped;
  return at::matmul(seen.softmax(-1).to(value.scalar_type()), value);
}

}  // namespace

const at::Tensor& AttentionMasks::of_row(std::int64_t tokens, std::int64_t window, const ModelConfig& config,
                                         const at::TensorOptions& type) const {
  static const at::Tensor none;
  const bool has_window = window > 0 && tokens > window, has_bias = config.alibi_largest > 0;
  if (!has_window && !has_bias && config.attention_cap == 0) return none;
  const c10::InferenceMode no_inference(false);  // the same mask is used with and without gradients
  if (!masks_.empty() && std::get<0>(masks_.begin()->first) != tokens) masks_.clear();
  auto& mask = masks_[{tokens, has_window ? window : 0, c10::typeMetaToScalarType(type.dtype())}];
  if (mask.defined()) return mask;
  mask = visible(tokens, has_window ? window : 0, type.device());
  if (has_bias) mask = alibi_bias(tokens, tokens, config, type).masked_fill(mask.logical_not(), kNever);
  return mask;
}

at::Tensor alibi_slopes(const ModelConfig& config) {
  // Powers of one ratio for the next power of two of heads; of more than there are, every second one comes first.
  const auto power = static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(config.heads)));
  std::vector<float> slopes;
  const auto slope = [&](std::int64_t head, std::int64_t of) {
    return static_cast<float>(std::exp2(-config.alibi_largest * static_cast<double>(head) / static_cast<double>(of)));
  };
  const auto whole = power == config.heads ? power : power / 2;
  const bool odd_first = config.alibi_odd_first && power != config.heads;
  if (odd_first) {
    for (std::int64_t head = 2; head <= power; head += 2) slopes.push_back(slope(head, power));
    for (std::int64_t head = 1; head <= power; head += 2) slopes.push_back(slope(head, power));
  } else {
    for (std::int64_t head = 1; head <= whole; ++head) slopes.push_back(slope(head, whole));
    for (std::int64_t head = 1; head <= power; head += 2) slopes.push_back(slope(head, power));
  }
  slopes.resize(static_cast<std::size_t>(config.heads));
  return at::tensor(slopes);
}

at::Tensor attend(const at::Tensor& query, const at::Tensor& all_keys, const at::Tensor& all_values,
                  const ModelConfig& config, const LayerFacts& layer, const AttentionMasks& masks) {
  const auto tokens = query.size(2);
  auto key = all_keys, value = all_values;
  at::Tensor mask;
  if (tokens > 1) {
    mask = masks.of_row(tokens, layer.window, config, query.options());
  } else {  // sees all keys that there are, or the last ones
    const auto seen = layer.window > 0 ? std::min(layer.window, key.size(2)) : key.size(2);
    key = key.narrow(2, key.size(2) - seen, seen);
    value = value.narrow(2, value.size(2) - seen, seen);
    if (config.alibi_largest > 0) mask = alibi_bias(1, seen, config, query.options());
  }
  const bool causal = tokens > 1 && !mask.defined();
  bool grouped = config.heads != config.key_value_heads;
  if (grouped && (config.attention_cap > 0 || (tokens > 1 && wants_repeated_heads(query)))) {
    key = key.repeat_interleave(config.heads / config.key_value_heads, 1);
    value = value.repeat_interleave(config.heads / config.key_value_heads, 1);
    grouped = false;
  }
  const auto mixed =
      config.attention_cap > 0
          ? attend_capped(query, key, value, mask, config)
          : at::scaled_dot_product_attention(query, key, value, mask.defined() ? std::optional(mask) : std::nullopt,
                                             0.0, causal, config.attention_scale, grouped);
  return mixed.transpose(1, 2).flatten(2);
}

}  // namespace normtweak::model
