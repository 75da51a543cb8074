// The quantization grid of a group of weights: the values that its codes represent.
//     value = (code - zero) * scale,   code in [0, 2^bits)
#pragma once
#include <ATen/core/Tensor.h>

#include "normtweak/weights/affine_weight.h"

namespace normtweak::quantize {

// Of all quantizers that give affine weights. The functions below read no group size: they are given groups.
struct AffineOptions {
  int bits = 4;              // 2, 3, 4, 6 or 8
  int group_size = 128;      // input columns per scale; 0: one scale per output channel
  bool symmetric = false;    // zero-point fixed at 2^(bits-1)
  bool float_zeros = false;  // zero-points are rounded to the scale type, not to integers
  bool search_grid = false;  // shrink each group's range to minimise Σ |error|^2.4
  // Scales are rounded to what they are stored in and what readers load them in, before zero-points and codes are
  // derived from them.
  at::ScalarType scale_type = at::kHalf, loaded_type = at::kFloat;
};

struct Grid {
  at::Tensor scales;  // f32 [...], values of the scale types, at least their smallest normal number
  at::Tensor zeros;   // f32 [...], in [0, 2^bits); integers unless float_zeros
};

// The grid of each row of `groups`, f32 [..., group_size], by range or by search as the options say.
Grid fit_grid(const at::Tensor& groups, const AffineOptions& options);

// The range of each row and 0: f32 [...], low <= 0 <= high.
struct Range {
  at::Tensor low, high;
};
Range range_of_groups(const at::Tensor& groups);

// The grid that spans that range, so that a zero weight stays exactly zero.
Grid range_grid(const at::Tensor& groups, const AffineOptions& options);

// The same for shares of each row's range, in (0, 1]; of a symmetric one, the share `high`.
Grid range_grid(const at::Tensor& groups, const AffineOptions& options, const Range& shares);

// The best of the grids that span 100%, 99%, ... 21% of that range: the `mse` search of the GPTQ code. Clipping an
// outlier gives all other weights of its group a finer step.
Grid search_grid(const at::Tensor& groups, const AffineOptions& options);

// The nearest code minus the zero-point, f32: value = result * scale. Halves round to even.
at::Tensor nearest_steps(const at::Tensor& groups, const Grid& grid, const AffineOptions& options);

// codes: [out, in], whole numbers in [0, 2^bits); grid: [out, groups].
weights::AffineWeight affine_weight(const at::Tensor& codes, const Grid& grid, const AffineOptions& options);

// The offset of the grid's steps from integers: 0 for integer zero-points.
at::Tensor phase_of(const at::Tensor& zeros);

// Rounded to values of both types, f32, as long as they are normal numbers of both; infinite where that overflows.
at::Tensor as_loaded(const at::Tensor& values, at::ScalarType stored, at::ScalarType loaded);

// The same, and at least the smallest normal number of both types. A subnormal scale has lost precision, and some
// kernels flush it to 0. Codes are computed for the rounded scale, the only one that a reader of the file sees.
at::Tensor storable_scales(const at::Tensor& scales, at::ScalarType stored, at::ScalarType loaded = at::kFloat);

// Throws Error if a scale overflowed its dtype. Clamping the scale instead would silently clip the weights.
void check_scales(const at::Tensor& scales, at::ScalarType stored, at::ScalarType loaded = at::kFloat);

}  // namespace normtweak::quantize
