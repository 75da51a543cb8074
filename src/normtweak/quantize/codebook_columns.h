// Codebooks, transposed as GPTQ and coordinate descent work on them.
#pragma once
#include "normtweak/quantize/gptq_run.h"
#include "normtweak/quantize/kmeans.h"

namespace normtweak::quantize {

// The codebooks of a slice of output channels.
class CodebookColumns : public GptqGrid {
 public:
  // Of the shape of `weight`, f32 [in, out], not yet fitted.
  CodebookColumns(const at::Tensor& weight, const KmeansOptions& options);
  // Those of rows of a quantized weight, with channels added as padded_columns() adds them.
  explicit CodebookColumns(const weights::CodebookWeight& weight);

  std::int64_t span() const override { return group_size_; }
  void fit(std::int64_t first, const at::Tensor& values, const at::Tensor& importance) override;
  ColumnGrids grids(std::int64_t first, std::int64_t last) const override;

  // steps: f32 [in, out], codes. The first `out` channels.
  weights::CodebookWeight weight_of(const at::Tensor& steps, std::int64_t out) const;

  const KmeansOptions& options() const { return options_; }

  at::Tensor entries;  // f32 [groups, 2^bits, out], ascending

 private:
  KmeansOptions options_;
  std::int64_t group_size_;
};

}  // namespace normtweak::quantize
