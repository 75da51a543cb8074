// A factor for each channel, moved from what feeds linears into the linears that read it.
#pragma once
#include <ATen/core/Tensor.h>

#include "normtweak/transform/folds_of.h"

namespace normtweak::transform {

// Divides what feeds by `scales`, f32 [columns of the readers], and multiplies the readers' columns by them. A norm's
// weight and bias are divided as they apply: of a norm that adds 1 to its weight w, w becomes (1 + w) / s - 1. They are
// rounded to `stored`, the dtype of the file, and the readers get the factor that was lost in that, so that rounding
// the weight of a norm costs nothing. Float linears are marked as changed. Quantized ones must not be among them.
void apply(const Fold& fold, const at::Tensor& scales, const model::ModelConfig& config, at::ScalarType stored,
           model::Block& block);

// The two halves: what feeds alone, which returns the factors for the readers, and a reader alone.
at::Tensor divide_feeder(const Fold& fold, const at::Tensor& scales, const model::ModelConfig& config,
                         at::ScalarType stored, model::Block& block);
void multiply_columns(const at::Tensor& scales, model::Linear& linear);

}  // namespace normtweak::transform
