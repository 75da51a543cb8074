#include "normtweak/model/branched_rows.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>

#include <limits>

namespace normtweak::model {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();
constexpr std::int64_t kFloatBytes = 4;

// Positions of keys minus those of queries: i64 [rows, 1, tokens, tokens].
at::Tensor distances(const BranchedRows& rows) {
  return (rows.positions.unsqueeze(1) - rows.positions.unsqueeze(2)).unsqueeze(1);
}

// bool [rows, 1, tokens, tokens]
at::Tensor visible(const BranchedRows& rows, std::int64_t window) {
  const auto tokens = rows.branches.size(1);
  const auto earlier = at::ones({tokens, tokens}, rows.branches.options().dtype(at::kBool)).tril_();
  const auto queries = rows.branches.unsqueeze(2), keys = rows.branches.unsqueeze(1);
  const auto seen = keys.eq(queries).logical_or_(keys.eq(0)).logical_and_(earlier).unsqueeze(1);
  return window > 0 ? seen.logical_and(distances(rows).gt(-window)) : seen;
}

// ALiBi relative to each query's own position, as in attention.cpp: `type` [rows, heads, tokens, tokens].
at::Tensor alibi_bias(const BranchedRows& rows, const ModelConfig& config, const at::TensorOptions& type) {
  const auto slopes = alibi_slopes(config).to(type.device()).view({-1, 1, 1});
  if (!config.alibi_in_bf16) return (distances(rows) * (slopes * config.alibi_scale)).to(type);
  const auto products = slopes.to(at::kBFloat16).to(at::kFloat) * rows.positions.unsqueeze(1).unsqueeze(1);
  const auto biases = products.to(at::kBFloat16).to(at::kFloat) * config.alibi_scale;  // [rows, heads, 1, tokens]
  return (biases - biases.transpose(2, 3)).to(type);
}

}  // namespace

// The mask, the distances, and attention's own copy of the mask in the compute dtype; with ALiBi a bias for each head.
std::int64_t branch_bytes(const ModelConfig& config, at::ScalarType type, std::int64_t tokens) {
  constexpr std::int64_t kMask = 1, kDistance = 8;
  const auto size = static_cast<std::int64_t>(c10::elementSize(type));
  const auto biases = config.alibi_largest > 0 ? config.heads * (2 * kFloatBytes + size) : 0;
  return tokens * (kMask + kDistance + size + biases);
}

const at::Tensor& BranchMasks::of_window(std::int64_t window, const ModelConfig& config,
                                         const at::TensorOptions& type) const {
  auto& mask = masks_[window];
  if (mask.defined()) return mask;
  mask = visible(rows_, window);
  if (config.alibi_largest > 0) mask = alibi_bias(rows_, config, type).masked_fill(mask.logical_not(), kNever);
  return mask;
}

}  // namespace normtweak::model
