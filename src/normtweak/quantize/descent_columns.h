// Coordinate descent's course through the columns of a weight, for any kind of grid; see coordinate_descent.h.
#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>

#include "normtweak/quantize/channel_rows.h"
#include "normtweak/quantize/channel_slices.h"
#include "normtweak/quantize/descent_step.h"
#include "normtweak/quantize/gptq_block.h"
#include "normtweak/quantize/product_precision.h"

namespace normtweak::quantize {

// A slice of output channels. All matrices are transposed: the columns of the weight are rows.
class DescentColumns {
 protected:
  // weight: f32 [out, in]; hessian: live_part(), which must outlive this.
  DescentColumns(const at::Tensor& weight, const at::Tensor& hessian);

  void take_values(const at::Tensor& values);  // f32 [in, out]

  // f32 [last - first, out]: H E of these columns, where E is the errors.
  at::Tensor felt_by(std::int64_t first, std::int64_t last) const;

  // Chooses the codes of these columns again: each goes where the error of its channel is least. Writes the steps of
  // round_block(). With `felt`, felt_by() of these columns, one product is saved.
  void round_columns(std::int64_t first, std::int64_t last, const ColumnGrids& grids, const at::Tensor& steps);
  void round_columns(std::int64_t first, std::int64_t last, const ColumnGrids& grids, const at::Tensor& steps,
                     const at::Tensor& felt);

  std::int64_t out() const { return out_; }
  std::int64_t in() const { return weight_.size(0); }
  at::Tensor columns(std::int64_t first, std::int64_t last) const;  // i64 [last - first]: their numbers

  const at::Tensor& hessian_;   // f32 [in, in]
  at::Tensor weight_;           // f32 [in, out]
  at::Tensor values_, errors_;  // f32 [in, out]: dequantized, and weight - values

 private:
  at::Tensor pull_on_columns(std::int64_t first, std::int64_t last);  // pull_on(), kept for the columns that follow
  void round_to(const at::Tensor& pull, std::int64_t first, const ColumnGrids& grids, const at::Tensor& feedback,
                const at::Tensor& steps);

  std::int64_t out_;              // without padding
  at::Tensor pulls_;              // f32 [in, columns]: pull_on() of some columns
  std::int64_t pulls_first_ = 0;  // the first of them
};

// Channels at a time: on a GPU, bounded by the memory of normal equations of that many unknowns for each channel.
std::int64_t descent_slice(const at::Tensor& weight, std::int64_t unknowns);

// Sweeps over slices of the channels by a Descent(rows, weight, hessian, options...), whose sweep() and result() refine
// `rows` of the quantized weight. The other arguments are those of descend(). `rounded` gets new tensors, since other
// handles may share the old ones.
template <class Descent, class Weight, class... Options>
void descend_in_slices(Weight& rounded, const at::Tensor& weight, const at::Tensor& hessian, double added, int sweeps,
                       std::int64_t unknowns, const Options&... options) {
  const at::NoGradGuard no_grad;
  const RoundingProducts precision;
  const auto live = live_part(hessian, added);
  const auto old = rounded;
  rounded = with_changed_tensors(old, [](const at::Tensor& all) { return at::empty_like(all); });
  const auto size = descent_slice(weight, unknowns);
  for_each_slice(weight.device(), weight.size(0), size, [&](std::int64_t first, std::int64_t count) {
    Descent descent(channel_rows(old, first, count), weight.narrow(0, first, count), live, options...);
    for (int sweep = 0; sweep < sweeps; ++sweep) descent.sweep();
    auto found = descent.result(), target = channel_rows(rounded, first, count);
    copy_tensors(channel_tensors(target), channel_tensors(found));
  });
}

}  // namespace normtweak::quantize
