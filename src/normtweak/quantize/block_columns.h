// Grids of llama.cpp's block types, transposed as GPTQ and coordinate descent work on them.
#pragma once
#include "normtweak/quantize/block_search.h"
#include "normtweak/quantize/gptq_run.h"

namespace normtweak::quantize {

// The grids of a slice of output channels.
class BlockColumns : public GptqGrid {
 public:
  // Of the shape of `weight`, f32 [in, out], not yet fitted.
  BlockColumns(const at::Tensor& weight, const weights::BlockType& type);
  // Those of rows of a quantized weight, with channels added as padded_columns() adds them.
  BlockColumns(const weights::BlockWeight& weight, const weights::BlockType& type);

  std::int64_t span() const override { return type_.block_size; }
  void fit(std::int64_t first, const at::Tensor& values, const at::Tensor& importance) override;
  ColumnGrids grids(std::int64_t first, std::int64_t last) const override;

  // The codes of steps of these columns (i64 [n]), f32 [n, out].
  at::Tensor codes_of(const at::Tensor& columns, const at::Tensor& steps) const;
  // The values of codes of all columns, f32 [in, out].
  at::Tensor values(const at::Tensor& codes) const;
  // The first `out` channels, of codes or steps of all columns.
  weights::BlockWeight weight_of_codes(const at::Tensor& codes, std::int64_t out) const;
  weights::BlockWeight weight_of(const at::Tensor& steps, std::int64_t out) const;

  const weights::BlockType& type() const { return type_; }
  std::int64_t blocks() const { return scales.size(0); }
  std::int64_t subs_per_block() const { return type_.block_size / type_.sub_size; }

  at::Tensor scales, minima;          // f32 [blocks, out]; minima undefined if the type has none
  at::Tensor sub_scales, sub_minima;  // f32 [sub-blocks, out], integers; 1 where the type has none; sub_minima
                                      // undefined if it has no minima

 private:
  SubGrid of_subs(const at::Tensor& subs) const;  // f32 [n, out]

  const weights::BlockType& type_;
  at::Tensor curve_;  // f32 [16]; undefined if the type has none
};

}  // namespace normtweak::quantize
