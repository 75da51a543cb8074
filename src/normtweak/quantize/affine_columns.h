// Affine grids, transposed as GPTQ and coordinate descent work on them.
#pragma once
#include "normtweak/quantize/gptq_run.h"
#include "normtweak/quantize/grid.h"
#include "normtweak/weights/affine_weight.h"

namespace normtweak::quantize {

// The grids of a slice of output channels.
class AffineColumns : public GptqGrid {
 public:
  // Of the shape of `weight`, f32 [in, out], not yet fitted.
  AffineColumns(const at::Tensor& weight, const AffineOptions& options);
  // Those of rows of a quantized weight, with channels added as padded_columns() adds them.
  explicit AffineColumns(const weights::AffineWeight& weight);

  std::int64_t span() const override { return group_size_; }
  void fit(std::int64_t first, const at::Tensor& values, const at::Tensor& importance) override;
  ColumnGrids grids(std::int64_t first, std::int64_t last) const override;

  // [groups, out] -> [in, out]
  at::Tensor for_columns(const at::Tensor& by_group) const { return by_group.repeat_interleave(group_size_, 0); }
  // steps: f32 [in, out], code - zero. The first `out` channels.
  weights::AffineWeight weight_of(const at::Tensor& steps, std::int64_t out) const;

  const AffineOptions& options() const { return options_; }

  at::Tensor scales, zeros;  // f32 [groups, out]

 private:
  AffineOptions options_;
  std::int64_t group_size_;
};

}  // namespace normtweak::quantize
