// The two passes over affine codes that training repeats for every product, each as few passes over memory as the
// device allows: on the CPU one loop, on a GPU a few of LibTorch's kernels.
#pragma once
#include <ATen/core/Tensor.h>

#include "normtweak/weights/affine_weight.h"

namespace normtweak::weights {

// (codes - zeros) * scales as [out, in] in `type`; computed in f32 and rounded to the type once. No gradients.
at::Tensor dequantize_groups(const AffineWeight& weight, at::ScalarType type);

// The same for a backward pass, which goes through the weight and then reduces its gradient. Beyond the CPU a scale of
// 0 counts as 2^-64 here: too little for the gradient of an input to show, and enough for reduce_to_groups() to see the
// codes. Nothing has to ask the device whether there is such a scale.
at::Tensor dequantize_for_gradients(const AffineWeight& weight, at::ScalarType type);

// What a gradient of the dequantized weight means for the floats of its groups, f32 [out, groups]:
//     d / d scales = Σ_group G (codes - zeros)        d / d zeros = -scales Σ_group G
struct GroupGradients {
  at::Tensor scales, zeros;  // zeros: undefined where not asked for
};
// gradient: [out, in], f32 or bf16. Sums are f32. dequantized: what dequantize_for_gradients() gives in the gradient's
// type, where the caller has it anyway; it saves a GPU a pass.
GroupGradients reduce_to_groups(const at::Tensor& gradient, const AffineWeight& weight, bool with_zeros,
                                const at::Tensor& dequantized = {});

// The same in LibTorch's operations: what every device but the CPU runs. Here so that they are tested everywhere.
namespace by_operations {
at::Tensor dequantize_groups(const AffineWeight& weight, at::ScalarType type);
at::Tensor dequantize_for_gradients(const AffineWeight& weight, at::ScalarType type);
GroupGradients reduce_to_groups(const at::Tensor& gradient, const AffineWeight& weight, bool with_zeros,
                                const at::Tensor& dequantized = {});
}  // namespace by_operations

}  // namespace normtweak::weights
