#include "normtweak/transform/planned_rounding.h"

namespace normtweak::transform {

weights::Weight planned_rounding(const at::Tensor& weight, const quantize::LinearPlan& plan) {
  auto stand_in = plan;
  stand_in.sensitivity = false;
  stand_in.feedback = false;
  if (needs_hessian(stand_in)) {
    stand_in.search_grid = resolved_options(plan).search_grid;
    stand_in.method = "rtn";
  }
  return quantize::find_quantizer(stand_in.method).quantize(weight, {}, stand_in);
}

}  // namespace normtweak::transform
