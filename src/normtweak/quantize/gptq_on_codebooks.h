// GPTQ with codebooks for grids: k-means whose columns are rounded one after the other, with the feedback of gptq.h.
#pragma once
#include "normtweak/quantize/hessian_factor.h"
#include "normtweak/quantize/kmeans.h"

namespace normtweak::quantize {

struct CodebookGptqResult {
  weights::CodebookWeight weight;
  double layer_error = 0;  // tr(ΔW H ΔWᵀ) with the Hessian before damping
};

// weight: f32 [out, in], on the device of the factor. The codebooks of a group are fitted when its first column is
// reached, to the weights as updated by the feedback so far; with act-order all beforehand, to the original weights.
// What an error in a column costs when they are fitted is D of the factor, and not the Hessian's diagonal: the columns
// after it compensate for the rest. They are fitted on the CPU, whatever the device; the columns are rounded on it.
// Throws Error if the weight is not finite, if group_size does not divide `in`, or if an entry does not fit its type.
CodebookGptqResult quantize_gptq(const at::Tensor& weight, const HessianFactor& factor, const KmeansOptions& options);

}  // namespace normtweak::quantize
