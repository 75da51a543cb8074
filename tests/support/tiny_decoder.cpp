#include "support/tiny_decoder.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "normtweak/base/error.h"

namespace normtweak::tests {
namespace {

constexpr int kBits = 2, kGroup = 8;

model::Linear linear(const std::string& name, std::int64_t out, std::int64_t in, bool has_bias) {
  return {.name = name,
          .weight = weights::FloatWeight{at::randn({out, in}) / std::sqrt(static_cast<double>(in))},
          .bias = has_bias ? at::randn({out}) * 0.1 : at::Tensor()};
}

model::Norm norm(const std::string& name, const TinyModel& options, const model::ModelConfig& config) {
  return {.name = name,
          .kind = options.llama ? model::NormKind::rms : model::NormKind::layer,
          .epsilon = config.norm_epsilon,
          .weight = 1 + at::randn({config.hidden}) * 0.2,
          .bias = options.llama ? at::Tensor() : at::randn({config.hidden}) * 0.1};
}

model::Block block(int index, const TinyModel& options, const model::ModelConfig& config) {
  const auto named = [&](const char* part) { return fmt::format("blocks.{}.{}", index, part); };
  const bool biases = options.biases || !options.llama;
  const auto hidden = config.hidden, q = config.heads * config.head_size,
             kv = config.key_value_heads * config.head_size;
  model::Block made;
  made.index = index;
  made.facts = config.layer_facts.front();
  made.norms = {{model::NormRole::attention, norm(named("attention_norm"), options, config)},
                {model::NormRole::mlp, norm(named("mlp_norm"), options, config)}};
  const auto add = [&](model::LinearRole role, const char* part, std::int64_t out, std::int64_t in) {
    made.linears.push_back({.role = role, .linear = linear(named(part), out, in, biases)});
  };
  if (options.llama) {
    add(model::LinearRole::query, "q", q, hidden);
    add(model::LinearRole::key, "k", kv, hidden);
    add(model::LinearRole::value, "v", kv, hidden);
  } else {
    add(model::LinearRole::query_key_value, "qkv", q + 2 * kv, hidden);
  }
  // in the order in which the weights were drawn
  const auto gate = options.llama ? linear(named("gate"), config.intermediate, hidden, biases) : model::Linear();
  add(model::LinearRole::attention_output, "o", hidden, q);
  if (options.llama) made.linears.push_back({.role = model::LinearRole::gate, .linear = gate});
  add(model::LinearRole::up, "up", config.intermediate, hidden);
  add(model::LinearRole::down, "down", hidden, config.intermediate);
  return made;
}

}  // namespace

model::Decoder tiny_decoder(const TinyModel& options) {
  at::manual_seed(options.seed);
  model::Decoder decoder;
  auto& config = decoder.config;
  config.hidden = options.hidden;
  config.layers = options.layers;
  config.heads = 4;
  config.key_value_heads = options.llama ? 2 : 4;
  config.head_size = options.head_size;
  config.intermediate = options.intermediate;
  config.vocabulary = options.vocabulary;
  config.context = options.context;
  config.activation = options.llama ? model::Activation::silu : model::Activation::gelu_tanh;
  config.tied_head = !options.llama;
  config.embedding = config.hidden;
  config.attention_scale = 1 / std::sqrt(static_cast<double>(config.head_size));
  config.layer_facts.assign(static_cast<std::size_t>(options.layers), {.rotary = options.llama ? 0 : -1});
  if (options.llama) config.rotary = {{.size = config.head_size}};
  decoder.tables = attention_tables(config, at::kCPU);
  decoder.embedding = at::randn({config.vocabulary, config.hidden});
  if (options.llama) {
    decoder.head = linear("head", config.vocabulary, config.hidden, false);
  } else {
    decoder.positions = at::randn({config.context, config.hidden}) * 0.3;
    decoder.head = {.name = "head", .weight = weights::FloatWeight{decoder.embedding}, .bias = {}};
  }
  decoder.final_norm = norm("final_norm", options, config);
  decoder.blocks = model::BlockStore(options.layers, model::Residence::device, {});
  for (int i = 0; i < options.layers; ++i) {
    decoder.blocks.put(i, std::make_shared<const model::Block>(block(i, options, config)));
  }
  return decoder;
}

namespace {

// Blocks of 8 columns, with sub-blocks of 4 if they are nested.
weights::BlockWeight blocks(const at::Tensor& weight, bool nested) {
  constexpr std::int64_t kBlock = 8, kSub = 4;
  constexpr double kMost = 15;  // of an integer scale
  const auto size = nested ? kSub : kBlock;
  const auto groups = weight.view({weight.size(0), -1, size});
  const auto of_blocks = [&](const at::Tensor& sizes) {
    return sizes.view({weight.size(0), -1, kBlock / size}).amax(-1) / (nested ? kMost : 1);
  };
  const auto spread = [&](const at::Tensor& floats) { return floats.repeat_interleave(kBlock / size, 1); };
  weights::BlockWeight made;
  made.sub_size = static_cast<int>(size);
  made.block_size = static_cast<int>(kBlock);
  made.factor = nested ? 0.125F : 1;
  made.scale_type = at::kFloat;
  const auto minima = nested ? groups.amin(-1).clamp_max(0) : at::zeros({weight.size(0), groups.size(1)});
  const auto sizes = ((groups - minima.unsqueeze(-1)).abs().amax(-1) / 7).clamp_min(1e-3);
  made.scales = of_blocks(sizes) / made.factor;
  auto steps = spread(of_blocks(sizes));
  auto offsets = minima;
  if (nested) {
    made.sub_scales = (sizes / steps).round().clamp(1, kMost).to(at::kChar);
    made.minima = of_blocks(-minima).clamp_min(1e-3);
    made.sub_minima = (minima / spread(made.minima)).round().to(at::kChar);
    steps = steps * made.sub_scales;
    offsets = spread(made.minima) * made.sub_minima;
  }
  const auto codes = ((groups - offsets.unsqueeze(-1)) / steps.unsqueeze(-1)).round().clamp(-8, 7);
  made.codes = (codes + 128).view(weight.sizes()).to(at::kByte);
  return made;
}

}  // namespace

weights::Weight quantized(const at::Tensor& weight, Weights weights) {
  if (weights == Weights::floats) return weights::FloatWeight{weight};
  if (weights == Weights::blocks || weights == Weights::nested) return blocks(weight, weights == Weights::nested);
  const bool has_groups = weights == Weights::groups || weights == Weights::codebooks_of_groups;
  const auto size = has_groups ? kGroup : weight.size(1);
  const auto grouped = weight.view({weight.size(0), -1, size});
  const auto low = grouped.amin(-1), scales = (grouped.amax(-1) - low) / ((1 << kBits) - 1), zeros = -low / scales;
  const auto codes = (grouped / scales.unsqueeze(-1) + zeros.unsqueeze(-1)).round().view(weight.sizes()).to(at::kByte);
  if (weights == Weights::codebook || weights == Weights::codebooks_of_groups) {
    const auto codebooks = low.unsqueeze(-1) + scales.unsqueeze(-1) * at::arange(1 << kBits);
    return weights::CodebookWeight{
        .codes = codes, .codebook = codebooks.flatten(1), .bits = kBits, .codebook_type = at::kFloat};
  }
  return weights::AffineWeight{.codes = codes,
                               .scales = scales,
                               .zeros = zeros,
                               .bits = kBits,
                               .group_size = weights == Weights::groups ? kGroup : 0,
                               .float_zeros = true,
                               .scale_type = at::kFloat};
}

model::Decoder quantized(const model::Decoder& decoder, Weights weights) {
  auto changed = decoder;
  for (int i = 0; i < decoder.blocks.size(); ++i) {
    changed = with_block(changed, i, [&](model::Block& block) {
      for (auto& part : block.linears) {
        part.linear.weight = quantized(weights::dequantize(part.linear.weight), weights);
      }
    });
  }
  return changed;
}

at::Tensor random_ids(const model::Decoder& decoder, std::int64_t samples, std::int64_t tokens) {
  return at::randint(decoder.config.vocabulary, {samples, tokens}, at::TensorOptions(at::kLong));
}

}  // namespace normtweak::tests
