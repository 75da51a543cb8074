// A codebook for each output channel, or for each group of its input columns, found by exact k-means on the weights
// that share it. With sensitivity weights it is
// SqueezeLLM's dense part (Kim et al., arXiv 2306.07629).
#pragma once
#include "normtweak/weights/codebook_weight.h"

namespace normtweak::quantize {

struct KmeansOptions {
  int bits = 4;                              // 2, 3, 4, 6 or 8: 2^bits entries for each codebook
  int group_size = 0;                        // input columns per codebook; 0: one codebook per output channel
  at::ScalarType codebook_type = at::kHalf;  // what the codebook is stored in
};

// weight: f32 [out, in]. sensitivity: f32 [in], the weight of errors in each input column (the Hessian's diagonal), or
// undefined for equal weights. Runs on the CPU; the result is on the weight's device. Codebooks ascend; codes select
// the nearest entry after rounding to codebook_type.
// Throws Error if a value is not finite or does not fit codebook_type, or if a sensitivity is negative.
weights::CodebookWeight quantize_kmeans(const at::Tensor& weight, const at::Tensor& sensitivity,
                                        const KmeansOptions& options);

}  // namespace normtweak::quantize
