#include "normtweak/quantize/rtn.h"

#include <ATen/TensorOperators.h>

#include "normtweak/quantize/checks.h"

namespace normtweak::quantize {

weights::AffineWeight quantize_rtn(const at::Tensor& weight, const AffineOptions& options) {
  check_weight(weight);
  const auto out = weight.size(0), in = weight.size(1), group_size = resolve_group_size(options.group_size, in);
  const auto groups = weight.contiguous().view({out, in / group_size, group_size});
  const auto grid = fit_grid(groups, options);
  check_scales(grid.scales, options.scale_type, options.loaded_type);
  const auto codes = nearest_steps(groups, grid, options).add_(grid.zeros.unsqueeze(-1)).round_();
  return affine_weight(codes.view({out, in}), grid, options);
}

}  // namespace normtweak::quantize
