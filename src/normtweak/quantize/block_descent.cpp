#include "normtweak/quantize/block_descent.h"

#include <ATen/TensorOperators.h>
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
#include "normtweak/quantize/descent_columns.h"

namespace normtweak::quantize {
namespace {

using weights::BlockType;
using weights::BlockWeight;

class BlockDescent : DescentColumns {
 public:
  BlockDescent(const BlockWeight& rounded, const at::Tensor& weight, const at::Tensor& hessian, const BlockType& type)
      : DescentColumns(weight, hessian),
        type_(type),
        grid_(rounded, type),
        codes_(padded_columns(rounded.codes.to(at::kFloat) - weights::kBlockZero)) {
    take_codes();
  }

  void sweep() {
    fit_floats();
    for (std::int64_t first = 0; first < in(); first += kRoundedColumns) {
      refit_columns(first, std::min(in(), first + kRoundedColumns));
    }
  }

  BlockWeight result() const { return grid_.weight_of_codes(codes_, out()); }

 private:
  void take_codes() { take_values(grid_.values(codes_)); }

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
    take_codes();
  }

  void refit_columns(std::int64_t first, std::int64_t last) {
    auto felt = felt_by(first, last);
    if (type_.has_sub_blocks()) {
      for (auto begin = first; begin < last; begin += type_.sub_size) refit_integers(begin, first, last, felt);
    }
    const auto numbers = columns(first, last);
    const auto steps = at::empty_like(felt);
    round_columns(first, last, grid_.grids(first, last), steps, felt);
    codes_.slice(0, first, last).copy_(grid_.codes_of(numbers, steps));
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

  const BlockType& type_;
  BlockColumns grid_;
  at::Tensor codes_;  // f32 [in, out]
};

}  // namespace

void descend(BlockWeight& rounded, const BlockType& type, const at::Tensor& weight, const at::Tensor& hessian,
             double added, int sweeps) {
  const auto floats = rounded.scales.size(1) * (type.has_minimum ? 2 : 1);
  descend_in_slices<BlockDescent>(rounded, weight, hessian, added, sweeps, floats, type);
}

}  // namespace normtweak::quantize
