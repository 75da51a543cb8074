#include "normtweak/quantize/block_group.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/bucketize.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>

#include <algorithm>

namespace normtweak::quantize {
namespace {

constexpr float kLeast = 1e-30F;      // a scale below this counts as 0, so that its inverse is finite
constexpr float kDetermined = 1e-6F;  // share of the determinant's terms below which codes do not determine a line

at::Tensor inverted(const at::Tensor& scales) { return at::where(scales.abs() > kLeast, scales.reciprocal(), 0.0); }

at::Tensor curve_of(const weights::BlockType& type, c10::Device device) {
  const std::vector<float> codes(type.curve.begin(), type.curve.end());
  return at::tensor(codes, at::TensorOptions(at::kFloat)).to(device);
}

}  // namespace

at::Tensor ratio(const at::Tensor& numerator, const at::Tensor& denominator) {
  return at::where(denominator == 0, 0.0, numerator / denominator);
}

at::Tensor round_to_codes(at::Tensor&& steps, const weights::BlockType& type) {
  if (type.curve.empty()) return steps.round_().clamp_(type.codes.lowest, type.codes.highest);
  const auto curve = curve_of(type, steps.device());
  const auto count = curve.size(0);
  const auto middles = (curve.slice(0, 1, count) + curve.slice(0, 0, count - 1)) / 2;
  const auto places = at::bucketize(steps, middles, /*out_int32=*/true);
  return curve.index_select(0, places.flatten()).view(steps.sizes());
}

BlockGroups::BlockGroups(const at::Tensor& values, const at::Tensor& importance, const weights::BlockType& type)
    : type_(type), values_(values), importance_(importance), weighted_(values * importance) {
  square_ = (weighted_ * values_).sum(-1);
  if (!type.has_minimum) return;
  total_ = importance.expand_as(values).sum(-1);
  linear_ = weighted_.sum(-1);
}

at::Tensor BlockGroups::codes(const Line& line) const {
  auto offset = line.minima.defined() ? values_ - line.minima.unsqueeze(-1) : values_;
  return round_to_codes(offset * inverted(line.scales).unsqueeze(-1), type_);
}

CodeSums BlockGroups::sums(const at::Tensor& codes) const {
  const auto product = (codes * weighted_).sum(-1);
  auto weighted = codes * importance_;
  const auto code = type_.has_minimum ? weighted.sum(-1) : at::Tensor();
  return {.code = code, .square = weighted.mul_(codes).sum(-1), .product = product};
}

Line BlockGroups::fitted(const CodeSums& sums, bool minima_below) const {
  auto scales = ratio(sums.product, sums.square);
  if (!type_.has_minimum) return {scales, {}};
  const auto both = total_ * sums.square, determinant = both - sums.code * sums.code;
  const auto slopes = ratio(total_ * sums.product - sums.code * linear_, determinant);
  const auto found = at::where(determinant > both * kDetermined, slopes, 0.0);
  auto minima = ratio(linear_ - found * sums.code, total_);
  if (!minima_below) return {found, minima};
  const auto above = minima > 0;
  return {at::where(above, scales, found), at::where(above, 0.0, minima)};
}

at::Tensor BlockGroups::error(const CodeSums& sums, const Line& line) const {
  const auto& d = line.scales;
  auto error = square_ + d * (d * sums.square - 2 * sums.product);
  if (!line.minima.defined()) return error;
  const auto& m = line.minima;
  return error.add_(m * (m * total_ + 2 * (d * sums.code - linear_)));
}

void Best::offer(const at::Tensor& errors, const std::vector<at::Tensor>& candidate) {
  if (!errors_.defined()) {
    errors_ = errors;
    found_ = candidate;
    return;
  }
  auto better = errors < errors_;
  errors_ = at::where(better, errors, errors_);
  for (std::size_t i = 0; i < found_.size(); ++i) {
    auto mask = better;
    while (mask.dim() < candidate[i].dim()) mask = mask.unsqueeze(-1);
    found_[i] = at::where(mask, candidate[i], found_[i]);
  }
}

}  // namespace normtweak::quantize
