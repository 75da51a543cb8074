#include "support/explicit_model.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/pow.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace normtweak::tests {
namespace {

at::Tensor norm(const model::Norm& norm, const at::Tensor& x) {
  if (norm.kind == model::NormKind::rms) {
    return x / (x.square().mean(-1, true) + norm.epsilon).sqrt() * norm.weight;
  }
  const auto centred = x - x.mean(-1, true);
  return centred / (centred.square().mean(-1, true) + norm.epsilon).sqrt() * norm.weight + norm.bias;
}

at::Tensor linear(const model::Linear& linear, const at::Tensor& x) {
  const auto y = at::matmul(x, explicit_weight(linear.weight).t());
  return linear.bias.defined() ? y + linear.bias : y;
}

// As transformers writes it: x cos + rotate_half(x) sin. x: [samples, heads, tokens, head_size]
at::Tensor rotate(const at::Tensor& x, double base) {
  const auto size = x.size(-1);
  const auto f64 = at::TensorOptions(at::kDouble);
  const auto frequencies = at::pow(base, at::arange(0, size, 2, f64) / -static_cast<double>(size));
  const auto angles = at::arange(x.size(2), f64).unsqueeze(1) * at::cat({frequencies, frequencies});
  const auto turned = at::cat({-x.narrow(-1, size / 2, size / 2), x.narrow(-1, 0, size / 2)}, -1);
  return x * angles.cos() + turned * angles.sin();
}

at::Tensor attend(const model::Block& block, const at::Tensor& x, const model::Decoder& decoder) {
  const auto& config = decoder.config;
  using enum model::LinearRole;
  std::vector<at::Tensor> parts;
  for (const auto role : {query_key_value, query, key, value}) {
    if (const auto* part = find(block, role)) parts.push_back(linear(*part, x));
  }
  const auto all = at::cat(parts, -1).view({x.size(0), x.size(1), -1, config.head_size}).transpose(1, 2);
  const auto shared = config.heads / config.key_value_heads;
  auto queries = all.narrow(1, 0, config.heads);
  auto keys = all.narrow(1, config.heads, config.key_value_heads).repeat_interleave(shared, 1);
  const auto values =
      all.narrow(1, config.heads + config.key_value_heads, config.key_value_heads).repeat_interleave(shared, 1);
  if (!config.rotary.empty()) {
    queries = rotate(queries, config.rotary.front().base);
    keys = rotate(keys, config.rotary.front().base);
  }
  const auto future = at::ones({x.size(1), x.size(1)}, at::kBool).triu(1);
  const auto scores = at::matmul(queries, keys.transpose(-1, -2)) / std::sqrt(static_cast<double>(config.head_size));
  const auto shares = scores.masked_fill(future, -std::numeric_limits<double>::infinity()).softmax(-1);
  return linear(*find(block, attention_output), at::matmul(shares, values).transpose(1, 2).flatten(2));
}

at::Tensor mlp(const model::Block& block, const at::Tensor& x) {
  const auto up = linear(*find(block, model::LinearRole::up), x);
  const auto& down = *find(block, model::LinearRole::down);
  const auto* gate_linear = find(block, model::LinearRole::gate);
  if (gate_linear == nullptr) return linear(down, at::gelu(up, "tanh"));
  const auto gate = linear(*gate_linear, x);
  return linear(down, gate * gate.sigmoid() * up);
}

// `values` as an f64 leaf, entered under `name`.
void make_leaf(at::Tensor& values, const std::string& name, std::map<std::string, at::Tensor>& leaves) {
  if (!values.defined()) return;
  values = values.detach().to(at::kDouble).clone().requires_grad_();
  leaves[name] = values;
}

void make_leaves(model::Norm& norm, std::map<std::string, at::Tensor>& leaves) {
  make_leaf(norm.weight, norm.name + ".weight", leaves);
  make_leaf(norm.bias, norm.name + ".bias", leaves);
}

void make_leaves(model::Linear& linear, std::map<std::string, at::Tensor>& leaves) {
  make_leaf(linear.bias, linear.name + ".bias", leaves);
  if (auto* affine = std::get_if<weights::AffineWeight>(&linear.weight)) {
    make_leaf(affine->scales, linear.name + ".scales", leaves);
    make_leaf(affine->zeros, linear.name + ".zeros", leaves);
  } else if (auto* table = std::get_if<weights::CodebookWeight>(&linear.weight)) {
    make_leaf(table->codebook, linear.name + ".codebook", leaves);
  }
}

}  // namespace

at::Tensor explicit_weight(const weights::Weight& weight) {
  if (const auto* table = std::get_if<weights::CodebookWeight>(&weight)) {
    const auto out = table->codes.size(0), groups = table->codebook.size(1) >> table->bits;
    const auto codes = table->codes.to(at::kLong).reshape({out, groups, -1});
    return table->codebook.view({out, groups, -1}).gather(2, codes).view(table->codes.sizes()).to(at::kDouble);
  }
  if (const auto* values = std::get_if<weights::FloatWeight>(&weight)) return values->values.to(at::kDouble);
  if (const auto* blocks = std::get_if<weights::BlockWeight>(&weight)) {
    const auto spread = [&](const at::Tensor& x) {
      return x.to(at::kDouble).repeat_interleave(blocks->codes.size(1) / x.size(1), 1);
    };
    auto values = blocks->factor * (blocks->codes.to(at::kDouble) - 128) * spread(blocks->scales);
    if (blocks->sub_scales.defined()) values = values * spread(blocks->sub_scales);
    return blocks->minima.defined() ? values + spread(blocks->minima) * spread(blocks->sub_minima) : values;
  }
  const auto& affine = std::get<weights::AffineWeight>(weight);
  const auto columns = affine.codes.size(1) / affine.scales.size(1);
  const auto spread = [&](const at::Tensor& x) { return x.to(at::kDouble).repeat_interleave(columns, 1); };
  return (affine.codes.to(at::kDouble) - spread(affine.zeros)) * spread(affine.scales);
}

ExplicitModel::ExplicitModel(const model::Decoder& original) : decoder(original) {
  decoder.embedding = original.embedding.to(at::kDouble);
  for (int i = 0; i < original.blocks.size(); ++i) {
    auto block = *original.blocks.get(i);
    for (auto& part : block.norms) make_leaves(part.norm, floats);
    for (auto& part : block.linears) make_leaves(part.linear, floats);
    decoder.blocks.put(i, std::make_shared<const model::Block>(std::move(block)));
  }
  make_leaves(decoder.final_norm, floats);
}

at::Tensor ExplicitModel::hidden(const at::Tensor& ids) const {
  auto x = decoder.embedding.index_select(0, ids.flatten()).view({ids.size(0), ids.size(1), -1});
  if (decoder.positions.defined()) x = x + decoder.positions.narrow(0, 0, ids.size(1));
  for (int i = 0; i < decoder.blocks.size(); ++i) {
    const auto block = decoder.blocks.get(i);
    x = x + attend(*block, norm(*find(*block, model::NormRole::attention), x), decoder);
    x = x + mlp(*block, norm(*find(*block, model::NormRole::mlp), x));
  }
  return norm(decoder.final_norm, x);
}

at::Tensor ExplicitModel::logits(const at::Tensor& ids) const { return linear(decoder.head, hidden(ids)); }

at::Tensor explicit_divergence(const at::Tensor& teacher_logits, const at::Tensor& student_logits) {
  const auto log_t = teacher_logits.log_softmax(-1), log_s = student_logits.log_softmax(-1);
  return (log_t.exp() * (log_t - log_s)).sum(-1);
}

double relative_error(const at::Tensor& found, const at::Tensor& expected) {
  const auto exact = expected.detach().to(at::kDouble);
  const auto error = (found.detach().to(at::kDouble) - exact).abs().max().item<double>();
  return error / std::max(1e-6, exact.abs().max().item<double>());
}

}  // namespace normtweak::tests
