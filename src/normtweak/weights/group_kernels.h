// Dequantization of affine codes and reduction of weight gradients by group, which training repeats for every product.
// Each makes one pass over memory, in a loop on the CPU and in a kernel on an NVIDIA GPU (group_cuda_kernels.h), or
// else as few as LibTorch's operations allow.
#pragma once
#include <ATen/core/Tensor.h>

#include "normtweak/weights/affine_weight.h"

namespace normtweak::weights {

// (codes - zeros) * scales as [out, in] in `type`; computed in f32 and rounded to the type once. No gradients.
at::Tensor dequantize_groups(const AffineWeight& weight, at::ScalarType type);

// The same for a backward pass that also calls reduce_to_groups(). Where that is done by operations, a scale of 0 is
// replaced by 2^-64: too small to affect the gradient of the input, but large enough for reduce_to_groups() to recover
// the codes. This avoids a device synchronisation to check for zero scales.
at::Tensor dequantize_for_gradients(const AffineWeight& weight, at::ScalarType type);

// Gradients of a group's floats from the gradient G of the dequantized weight, f32 [out, groups]:
//     d / d scales = Σ_group G (codes - zeros)        d / d zeros = -scales Σ_group G
struct GroupGradients {
  at::Tensor scales, zeros;  // zeros: undefined if not requested
};
// gradient: [out, in], f32 or bf16. Sums are f32. dequantized: the result of dequantize_for_gradients() in the
// gradient's dtype, if the caller has it; saves the operations a pass.
GroupGradients reduce_to_groups(const at::Tensor& gradient, const AffineWeight& weight, bool with_zeros,
                                const at::Tensor& dequantized = {});

// The same with LibTorch operations, where there is neither loop nor kernel. Declared here so that they can be tested
// on any device.
namespace by_operations {
at::Tensor dequantize_groups(const AffineWeight& weight, at::ScalarType type);
at::Tensor dequantize_for_gradients(const AffineWeight& weight, at::ScalarType type);
GroupGradients reduce_to_groups(const at::Tensor& gradient, const AffineWeight& weight, bool with_zeros,
                                const at::Tensor& dequantized = {});
}  // namespace by_operations

}  // namespace normtweak::weights
