// GPTQ's course through the columns of a weight, for any kind of grid.
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

#include "normtweak/quantize/channel_slices.h"
#include "normtweak/quantize/gptq_block.h"
#include "normtweak/quantize/hessian_factor.h"

namespace normtweak::quantize {

// The grids of a slice of output channels. All matrices are transposed: the columns of the weight are rows.
class GptqGrid {
 public:
  GptqGrid() = default;
  GptqGrid(const GptqGrid&) = delete;
  GptqGrid& operator=(const GptqGrid&) = delete;
  virtual ~GptqGrid() = default;

  virtual std::int64_t span() const = 0;  // adjacent columns whose grid is fitted at once; divides `in`
  // Fits the grid of the columns from `first` on: values: f32 [a multiple of the span, out]; importance: f32 [the
  // same], what an error in each column costs.
  virtual void fit(std::int64_t first, const at::Tensor& values, const at::Tensor& importance) = 0;
  virtual ColumnGrids grids(std::int64_t first, std::int64_t last) const = 0;  // of the columns [first, last)
};

// i32 [last - first]: for ColumnGrids::grid_of, if `width` adjacent columns share a grid and the first grid is that of
// column `first`.
at::Tensor grid_of_columns(std::int64_t first, std::int64_t last, std::int64_t width, c10::Device device);

// f32 [in, out]: value / scale, the entry of the curve, or the place in the codebook. weight: f32 [in, out],
// contiguous, `out` a multiple of kRoundedLanes. Without an order in the factor, each span is fitted to the weights as
// updated when its first column is reached; with one, all are fitted beforehand.
at::Tensor run_gptq(const at::Tensor& weight, const HessianFactor& factor, GptqGrid& grid);

// f32 [in, out]: transposed, with channels of `padding` added up to a multiple of kRoundedLanes.
at::Tensor padded_columns(const at::Tensor& channels, double padding = 0);

// run(slice) for each slice of the weight's channels, in order; one slice on a GPU. Threads synchronise once per
// linear, not in each of thousands of small operations.
template <class Run>
auto for_channels(const at::Tensor& weight, const Run& run) {
  const auto slices = weight.is_cpu() ? weight.split(kRoundedChannels) : std::vector<at::Tensor>{weight};
  std::vector<decltype(run(weight))> results(slices.size());
  if (slices.size() == 1) {
    results[0] = run(weight);
    return results;
  }
  for_each_slice(weight.device(), weight.size(0), kRoundedChannels, [&](std::int64_t first, std::int64_t) {
    const auto i = static_cast<std::size_t>(first / kRoundedChannels);
    results[i] = run(slices[i]);
  });
  return results;
}

// Throws Error unless the weight is finite and has the columns of the factor.
void check_gptq(const at::Tensor& weight, const HessianFactor& factor);

}  // namespace normtweak::quantize
