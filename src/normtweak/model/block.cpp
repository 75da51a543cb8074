#include "normtweak/model/block.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>

namespace normtweak::model {
namespace {

void observe(const BlockContext& context, LinearInput place, const at::Tensor& input) {
  if (context.observe) context.observe(place, input);
}

at::Tensor apply(const Linear& linear, LinearInput place, const at::Tensor& input, const BlockContext& context) {
  auto output = forward(linear, input);
  if (context.observe_output) context.observe_output(place, output);
  return output;
}

struct QueryKeyValue {
  at::Tensor query, key, value;  // [samples, tokens, heads, head_size]
};

QueryKeyValue project(const Block& block, const at::Tensor& normed, const BlockContext& context) {
  const auto& config = *context.config;
  const auto output = [&](std::size_t i) {
    return apply(block.query_key_value[i], LinearInput::attention, normed, context);
  };
  const auto split = [&](const at::Tensor& flat, std::int64_t heads) {
    return flat.view({flat.size(0), flat.size(1), heads, config.head_size});
  };
  if (block.query_key_value.size() == 1) {
    const auto q = config.heads * config.head_size, kv = config.key_value_heads * config.head_size;
    const auto parts = output(0).split_with_sizes({q, kv, kv}, -1);
    return {split(parts[0], config.heads), split(parts[1], config.key_value_heads),
            split(parts[2], config.key_value_heads)};
  }
  return {split(output(0), config.heads), split(output(1), config.key_value_heads),
          split(output(2), config.key_value_heads)};
}

// Appends the new keys and values [samples, heads, tokens, head_size] to the cache; returns all so far.
void extend(KeyValueCache& cache, std::int64_t start, at::Tensor& key, at::Tensor& value) {
  const auto tokens = key.size(2);
  cache.keys.narrow(2, start, tokens).copy_(key);
  cache.values.narrow(2, start, tokens).copy_(value);
  key = cache.keys.narrow(2, 0, start + tokens);
  value = cache.values.narrow(2, 0, start + tokens);
}

// In F32 on a GPU, torch's fused attention kernel does not support shared key-value heads. Its math path materialises
// all scores and takes four times as long as the fused kernel on repeated keys and values. The backward pass of the
// fused kernel is not deterministic.
bool wants_repeated_heads(const at::Tensor& query) {
  if (!query.is_cuda() || query.scalar_type() != at::kFloat) return false;
  const bool needs_gradient = at::GradMode::is_enabled() && query.requires_grad();
  return !(needs_gradient && at::globalContext().deterministicAlgorithms());
}

at::Tensor attend(const Block& block, const at::Tensor& normed, const BlockContext& context) {
  const auto& config = *context.config;
  auto [query, key, value] = project(block, normed, context);
  if (context.rotary != nullptr) {
    const auto& table = context.rotary->up_to(context.start + query.size(1));
    query = rotate(query, table, context.start);
    key = rotate(key, table, context.start);
  }
  query = query.transpose(1, 2);  // [samples, heads, tokens, head_size]
  key = key.transpose(1, 2);
  value = value.transpose(1, 2);
  if (context.cache != nullptr) extend(*context.cache, context.start, key, value);
  // With a cache, the input is either the whole prompt (start 0) or a single token, which attends to everything before
  // it.
  const bool causal = query.size(2) > 1;
  bool grouped = config.heads != config.key_value_heads;
  if (grouped && causal && wants_repeated_heads(query)) {
    key = key.repeat_interleave(config.heads / config.key_value_heads, 1);
    value = value.repeat_interleave(config.heads / config.key_value_heads, 1);
    grouped = false;
  }
  const auto mixed = at::scaled_dot_product_attention(query, key, value, {}, 0.0, causal, std::nullopt, grouped);
  return mixed.transpose(1, 2).flatten(2);  // [samples, tokens, heads * head_size]
}

at::Tensor activate(const at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::silu:
      return at::silu(x);
    case Activation::gelu:
      return at::gelu(x);
    case Activation::gelu_tanh:
      return at::gelu(x, "tanh");
    case Activation::relu:
      return at::relu(x);
  }
  return x;
}

// The input of the MLP's last linear.
at::Tensor expand(const Block& block, const at::Tensor& normed, const BlockContext& context) {
  const auto activation = context.config->activation;
  const auto output = [&](const Linear& linear) { return apply(linear, LinearInput::mlp, normed, context); };
  return block.gate ? activate(output(*block.gate), activation) * output(block.up)
                    : activate(output(block.up), activation);
}

}  // namespace

at::Tensor forward(const Block& block, const at::Tensor& hidden, const BlockContext& context) {
  auto normed = forward(block.attention_norm, hidden, context.type);
  observe(context, LinearInput::attention, normed);
  const auto mixed = attend(block, normed, context);
  observe(context, LinearInput::attention_output, mixed);
  const auto middle = hidden + apply(block.attention_output, LinearInput::attention_output, mixed, context);

  normed = forward(block.mlp_norm, middle, context.type);
  observe(context, LinearInput::mlp, normed);
  const auto inner = expand(block, normed, context);
  observe(context, LinearInput::mlp_down, inner);
  return middle + apply(block.down, LinearInput::mlp_down, inner, context);
}

PlaceInput forward_to(LinearInput place, const Block& block, const at::Tensor& hidden, const BlockContext& context) {
  auto input = forward(block.attention_norm, hidden, context.type);
  if (place == LinearInput::attention) return {input, {}};
  input = attend(block, input, context);
  if (place == LinearInput::attention_output) return {input, hidden};
  const auto middle = hidden + apply(block.attention_output, LinearInput::attention_output, input, context);
  input = forward(block.mlp_norm, middle, context.type);
  if (place == LinearInput::mlp) return {input, {}};
  return {expand(block, input, context), middle};
}

std::vector<PlacedLinear> linears(Block& block) {
  std::vector<PlacedLinear> all;
  all.reserve(block.query_key_value.size() + 4);
  for (auto& linear : block.query_key_value) all.push_back({&linear, LinearInput::attention});
  all.push_back({&block.attention_output, LinearInput::attention_output});
  if (block.gate) all.push_back({&*block.gate, LinearInput::mlp});
  all.push_back({&block.up, LinearInput::mlp});
  all.push_back({&block.down, LinearInput::mlp_down});
  return all;
}

std::vector<const Linear*> linears(const Block& block) {
  std::vector<const Linear*> all;
  all.reserve(block.query_key_value.size() + 4);
  for (const auto& linear : block.query_key_value) all.push_back(&linear);
  all.push_back(&block.attention_output);
  if (block.gate) all.push_back(&*block.gate);
  all.push_back(&block.up);
  all.push_back(&block.down);
  return all;
}

Block map_tensors(const Block& block, const std::function<at::Tensor(const at::Tensor&)>& change) {
  const auto defined = [&](const at::Tensor& tensor) { return tensor.defined() ? change(tensor) : tensor; };
  auto changed = block;
  for (auto* norm : {&changed.attention_norm, &changed.mlp_norm}) {
    norm->weight = defined(norm->weight);
    norm->bias = defined(norm->bias);
  }
  for (const auto& placed : linears(changed)) {
    placed.linear->weight = weights::map_tensors(placed.linear->weight, defined);
    placed.linear->bias = defined(placed.linear->bias);
  }
  return changed;
}

}  // namespace normtweak::model
