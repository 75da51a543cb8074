// AWQ over the folds and the linears of a block.
#pragma once
#include "normtweak/transform/block_transform.h"

namespace normtweak::transform {

// The scales of each fold are searched with the weights of the float block, as if no other fold were made; then all are
// applied. With options.clip, the groups of the linears that clips() says are clipped in `target`.
Transformed awq(const BlockToTransform& what, const BlockCalibration& calibration, const TransformOptions& options);

}  // namespace normtweak::transform
