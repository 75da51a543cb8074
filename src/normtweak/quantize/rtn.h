// Round to nearest: the baseline for all other quantizers.
#pragma once
#include "normtweak/weights/affine_weight.h"

namespace normtweak::quantize {

struct RtnOptions {
  int bits = 4;                           // 2, 3, 4, 6 or 8
  int group_size = 128;                   // input columns per scale; 0: one scale per output channel
  bool symmetric = false;                 // zero-point fixed at 2^(bits-1)
  bool float_zeros = false;               // zero-points are floats of the scale type, not whole codes
  bool search_grid = false;               // shrink each group's range to minimise Σ |error|^2.4
  at::ScalarType scale_type = at::kHalf;  // what the scales are stored in
};

// weight: f32 [out, in], on any device. Throws Error if it is not finite, if group_size does not divide `in`, or if a
// scale does not fit its type.
weights::AffineWeight quantize_rtn(const at::Tensor& weight, const RtnOptions& options);

}  // namespace normtweak::quantize
