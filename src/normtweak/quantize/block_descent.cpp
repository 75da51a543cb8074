#include "normtweak/quantize/block_descent.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <vector>

#include "normtweak/base/device/matrix_product.h"
#include "normtweak/quantize/block_columns.h"
#include "normtweak/quantize/block_equations.h"
#include "normtweak/quantize/block_steps.h"
#include "normtweak/quantize/channel_slices.h"
#include "normtweak/quantize/descent_step.h"
#include "normtweak/quantize/product_precision.h"

namespace normtweak::quantize {
namespace {

using weights::BlockType;
using weights::BlockWeight;

// The work on a slice of output channels. All matrices are transposed: the columns of the weight are rows.
class BlockDescent {
 public:
  BlockDescent(const BlockWeight& rounded, const BlockType& type, const at::Tensor& weight, const at::Tensor& hessian)
      : type_(type),
        hessian_(hessian),
        out_(weight.size(0)),
        in_(weight.size(1)),
        weight_(padded_columns(weight)),
        grid_(rounded, type),
        codes_(padded_columns(rounded.codes.to(at::kFloat) - 128)) {
    take_values();
  }

  void sweep() {
    fit_floats();
    for (std::int64_t first = 0; first < in_; first += kRoundedColumns) {
      refit_columns(first, std::min(in_, first + kRoundedColumns));
    }
  }

  BlockWeight result() const { return grid_.weight_of(codes_, out_); }

 private:
  void take_values() {
    values_ = grid_.values(codes_);
    errors_ = weight_ - values_;
  }

  // f32 [in, out]: what multiplies the scale of a column's block, and its minimum.
  std::vector<at::Tensor> factors() const {
    const auto spread = [this](const at::Tensor& by_sub) { return by_sub.repeat_interleave(type_.sub_size, 0); };
    std::vector<at::Tensor> all = {codes_ * spread(grid_.sub_scales)};
    if (type_.has_minimum) all.push_back(spread(grid_.sub_minima));
    return all;
  }

  // As for affine scales: solved for the change, and accepted or not for each channel after rounding.
  void fit_floats() {
    const auto [matrix, right] = block_equations(factors(), hessian_, errors_, type_.block_size);
    const auto old = type_.has_minimum ? at::cat({grid_.scales, grid_.minima}) : grid_.scales;  // [floats, out]
    auto fitted = (old + solve_channels(matrix, right).t()).to(at::kHalf).to(at::kFloat);
    const auto growth = fitted / old;
    auto sound = (growth > 0.5) & (growth < 2);  // false for NaN
    if (type_.has_minimum) sound.slice(0, grid_.blocks()).copy_(fitted.slice(0, grid_.blocks()).isfinite());
    fitted = at::where(sound, fitted, old);
    const auto gain = gain_of((fitted - old).t().to(at::kDouble), matrix, right);
    fitted = at::where((gain > 0).unsqueeze(0), fitted, old);
    grid_.scales = fitted.slice(0, 0, grid_.blocks()).contiguous();
    if (type_.has_minimum) grid_.minima = fitted.slice(0, grid_.blocks()).contiguous();
    take_values();
  }

  void refit_columns(std::int64_t first, std::int64_t last) {
    auto felt = matmul_transposed(hessian_.slice(0, first, last), errors_.t());  // H E, [last - first, out]
    if (type_.has_sub_blocks()) {
      for (auto begin = first; begin < last; begin += type_.sub_size) refit_integers(begin, first, last, felt);
    }
    round_columns(first, last, felt);
  }

  // Of the sub-block that begins at column `begin`.
  void refit_integers(std::int64_t begin, std::int64_t first, std::int64_t last, at::Tensor& felt) {
    const auto sub = begin / type_.sub_size, block = begin / type_.block_size, end = begin + type_.sub_size;
    const auto own = hessian_.slice(0, begin, end).slice(1, begin, end);
    const auto pushed = felt.slice(0, begin - first, end - first);
    const auto unit = codes_.slice(0, begin, end) * grid_.scales.select(0, block);
    const auto unit_felt = matmul_transposed(own, unit.t());
    const auto aa = (unit * unit_felt).sum(0), ra = (unit * pushed).sum(0);
    auto scale = grid_.sub_scales.select(0, sub);
    at::Tensor moved;
    if (!type_.has_minimum) {
      const auto step = best_step(scale, {.aa = aa, .ra = ra}, type_.sub_scales);
      scale += step;
      moved = unit * step;
    } else {
      auto minimum = grid_.sub_minima.select(0, sub);
      const auto level = grid_.minima.select(0, block);
      const auto bb = level * level * own.sum(), rb = level * pushed.sum(0), ab = level * unit_felt.sum(0);
      const auto [step, shift] = best_steps(scale, minimum, {.aa = aa, .ab = ab, .bb = bb, .ra = ra, .rb = rb}, type_);
      scale += step;
      minimum += shift;
      moved = unit * step + level * shift;
    }
    errors_.slice(0, begin, end).sub_(moved);
    values_.slice(0, begin, end).add_(moved);
    felt.sub_(matmul_transposed(hessian_.slice(0, first, last).slice(1, begin, end), moved.t()));
  }

  // felt: H E of these columns.
  void round_columns(std::int64_t first, std::int64_t last, const at::Tensor& felt) {
    const auto pull = pull_on(hessian_, first, last).slice(0, first, last).contiguous();
    const auto diagonal = hessian_.diagonal().slice(0, first, last).unsqueeze(1);
    const auto others = felt / at::where(diagonal > 0, diagonal, 1.0) - errors_.slice(0, first, last) * (diagonal > 0);
    const auto target = weight_.slice(0, first, last) + others;
    const auto columns = at::arange(first, last, weight_.options().dtype(at::kLong));
    const auto grids = grid_.of_columns(columns);
    const auto moved = at::empty_like(target), steps = at::empty_like(target);
    round_block({.target = target,
                 .original = values_.slice(0, first, last),
                 .grids = grids,
                 .feedback = pull,
                 .steps = steps,
                 .errors = moved});
    codes_.slice(0, first, last).copy_(grid_.codes_of(columns, steps));
    errors_.slice(0, first, last).add_(moved);
    values_.slice(0, first, last).sub_(moved);
  }

  const BlockType& type_;
  const at::Tensor& hessian_;  // f32 [in, in]: live_part()
  std::int64_t out_, in_;
  at::Tensor weight_;  // f32 [in, out]
  BlockColumns grid_;
  at::Tensor codes_;            // f32 [in, out]
  at::Tensor values_, errors_;  // f32 [in, out]: dequantized, and weight - values
};

// Channels at a time: on a GPU, bounded by the memory of the normal equations.
std::int64_t slice_size(const at::Tensor& weight, const BlockType& type) {
  constexpr std::int64_t kNumbers = std::int64_t{1} << 26;
  if (weight.is_cpu()) return kRoundedChannels;
  const auto floats = weight.size(1) / type.block_size * (type.has_minimum ? 2 : 1);
  return std::max<std::int64_t>(1, kNumbers / (floats * floats) / kRoundedLanes) * kRoundedLanes;
}

}  // namespace

void descend(BlockWeight& rounded, const BlockType& type, const at::Tensor& weight, const at::Tensor& hessian,
             double added, int sweeps) {
  const at::NoGradGuard no_grad;
  const RoundingProducts precision;
  const auto live = live_part(hessian, added);
  const auto old = rounded;  // other handles may share its tensors
  for (auto* part : {&rounded.codes, &rounded.sub_scales, &rounded.sub_minima, &rounded.scales, &rounded.minima}) {
    if (part->defined()) *part = at::empty_like(*part);
  }
  const auto rows_of = [](const BlockWeight& whole, std::int64_t first, std::int64_t count) {
    auto rows = whole;
    for (auto* part : {&rows.codes, &rows.sub_scales, &rows.sub_minima, &rows.scales, &rows.minima}) {
      if (part->defined()) *part = part->narrow(0, first, count);
    }
    return rows;
  };
  const auto refit = [&](std::int64_t first, std::int64_t count) {
    BlockDescent descent(rows_of(old, first, count), type, weight.narrow(0, first, count), live);
    for (int sweep = 0; sweep < sweeps; ++sweep) descent.sweep();
    const auto found = descent.result(), target = rows_of(rounded, first, count);
    target.codes.copy_(found.codes);
    target.scales.copy_(found.scales);
    if (found.minima.defined()) target.minima.copy_(found.minima);
    if (found.sub_scales.defined()) target.sub_scales.copy_(found.sub_scales);
    if (found.sub_minima.defined()) target.sub_minima.copy_(found.sub_minima);
  };
  const auto size = slice_size(weight, type);
  if (weight.is_cpu()) {
    for_each_slice(weight.size(0), size, refit);
  } else {
    for (std::int64_t first = 0; first < weight.size(0); first += size) {
      refit(first, std::min(size, weight.size(0) - first));
    }
  }
}

}  // namespace normtweak::quantize
