#include "normtweak/weights/group_kernels.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/where.h>

#include <array>

#include "normtweak/base/device/target_clones.h"
#include "normtweak/weights/group_cuda_kernels.h"

namespace normtweak::weights {
namespace {

constexpr std::int64_t kRowsGrain = 8;  // minimum rows per thread
constexpr std::int64_t kLanes = 16;     // partial sums side by side: one AVX-512 register

NORMTWEAK_TARGET_CLONES void dequantize_group(const std::uint8_t* codes, float scale, float zero, std::int64_t size,
                                              float* values) {
  for (std::int64_t i = 0; i < size; ++i) values[i] = (static_cast<float>(codes[i]) - zero) * scale;
}

// Σ G (code - zero) and Σ G over a group, in lanes, so that the compiler can keep them in a register.
struct GroupSums {
  float products = 0, plain = 0;
};
NORMTWEAK_TARGET_CLONES GroupSums sum_group(const float* gradient, const std::uint8_t* codes, float zero,
                                            std::int64_t size) {
  std::array<float, kLanes> products = {}, plain = {};
  std::int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      const auto at = static_cast<std::size_t>(lane);
      products[at] += gradient[i + lane] * (static_cast<float>(codes[i + lane]) - zero);
      plain[at] += gradient[i + lane];
    }
  }
  GroupSums sums;
  for (const auto value : products) sums.products += value;
  for (const auto value : plain) sums.plain += value;
  for (; i < size; ++i) {
    sums.products += gradient[i] * (static_cast<float>(codes[i]) - zero);
    sums.plain += gradient[i];
  }
  return sums;
}

// Calls work(group) for all groups of all rows, from several threads.
template <class Work>
void for_each_group(std::int64_t rows, std::int64_t groups, const Work& work) {
  at::parallel_for(0, rows, kRowsGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t group = begin * groups; group < end * groups; ++group) work(group);
  });
}

at::Tensor dequantize_on_cpu(const AffineWeight& weight) {
  const auto size = columns_per_group(weight), groups = weight.scales.size(1);
  const auto codes = weight.codes.contiguous(), scales = weight.scales.contiguous(), zeros = weight.zeros.contiguous();
  auto values = at::empty(codes.sizes(), scales.options());
  const auto* code = codes.const_data_ptr<std::uint8_t>();
  const auto *scale = scales.const_data_ptr<float>(), *zero = zeros.const_data_ptr<float>();
  auto* value = values.mutable_data_ptr<float>();
  for_each_group(codes.size(0), groups, [&](std::int64_t group) {
    dequantize_group(code + group * size, scale[group], zero[group], size, value + group * size);
  });
  return values;
}

// [out, in] as [out, groups, columns of a group]
at::Tensor grouped(const at::Tensor& matrix, const AffineWeight& weight) {
  return matrix.view({matrix.size(0), -1, columns_per_group(weight)});
}

// Multiplying and dividing by a power of 2 is exact.
at::Tensor never_zero(const at::Tensor& scales) { return at::where(scales == 0, 0x1p-64, scales); }

GroupGradients reduce_on_cpu(const at::Tensor& gradient, const AffineWeight& weight, bool with_zeros) {
  const auto size = columns_per_group(weight), groups = weight.scales.size(1);
  const auto values = gradient.to(at::kFloat).contiguous(), codes = weight.codes.contiguous();
  const auto scales = weight.scales.contiguous(), zeros = weight.zeros.contiguous();
  GroupGradients result = {at::empty(scales.sizes(), scales.options()), {}};
  if (with_zeros) result.zeros = at::empty(scales.sizes(), scales.options());
  const auto* value = values.const_data_ptr<float>();
  const auto* code = codes.const_data_ptr<std::uint8_t>();
  const auto *scale = scales.const_data_ptr<float>(), *zero = zeros.const_data_ptr<float>();
  auto *of_scales = result.scales.mutable_data_ptr<float>(),
       *of_zeros = with_zeros ? result.zeros.mutable_data_ptr<float>() : nullptr;
  for_each_group(codes.size(0), groups, [&](std::int64_t group) {
    const auto sums = sum_group(value + group * size, code + group * size, zero[group], size);
    of_scales[group] = sums.products;
    if (of_zeros != nullptr) of_zeros[group] = -scale[group] * sums.plain;
  });
  return result;
}

}  // namespace

// For F32 results, the difference is taken first, which is exact for integer zero-points. For 16-bit results, one pass
// code * scale + (-zero * scale) suffices: its F32 rounding error is negligible beside the final rounding.
at::Tensor by_operations::dequantize_groups(const AffineWeight& weight, at::ScalarType type) {
  const c10::NoGradGuard no_gradients;
  const auto codes = grouped(weight.codes, weight);
  const auto scales = weight.scales.unsqueeze(-1), zeros = weight.zeros.unsqueeze(-1);
  auto values = at::empty(codes.sizes(), weight.scales.options().dtype(type));
  if (type == at::kFloat) {
    at::sub_out(values, codes, zeros).mul_(scales);
  } else {
    at::addcmul_out(values, -zeros * scales, codes, scales);
  }
  return values.view(weight.codes.sizes());
}

at::Tensor by_operations::dequantize_for_gradients(const AffineWeight& weight, at::ScalarType type) {
  const c10::NoGradGuard no_gradients;
  auto visible = weight;
  visible.scales = never_zero(weight.scales);
  return by_operations::dequantize_groups(visible, type);
}

// Σ_group G (codes - zeros) is Σ_group G W / scale.
GroupGradients by_operations::reduce_to_groups(const at::Tensor& gradient, const AffineWeight& weight, bool with_zeros,
                                               const at::Tensor& dequantized) {
  const c10::NoGradGuard no_gradients;
  const auto values =
      dequantized.defined() ? dequantized : by_operations::dequantize_for_gradients(weight, gradient.scalar_type());
  const auto of_weight = grouped(gradient, weight);
  const auto sums = (of_weight * grouped(values, weight)).sum(-1, false, at::kFloat);
  GroupGradients result = {sums / never_zero(weight.scales), {}};
  if (with_zeros) result.zeros = -weight.scales * of_weight.sum(-1, false, at::kFloat);
  return result;
}

at::Tensor dequantize_groups(const AffineWeight& weight, at::ScalarType type) {
  const c10::NoGradGuard no_gradients;
  if (weight.codes.is_cpu()) return dequantize_on_cpu(weight).to(type);
  return has_group_kernels(weight, type) ? dequantize_on_gpu(weight, type)
                                         : by_operations::dequantize_groups(weight, type);
}

at::Tensor dequantize_for_gradients(const AffineWeight& weight, at::ScalarType type) {
  return weight.codes.is_cpu() || has_group_kernels(weight, type)
             ? dequantize_groups(weight, type)
             : by_operations::dequantize_for_gradients(weight, type);
}

GroupGradients reduce_to_groups(const at::Tensor& gradient, const AffineWeight& weight, bool with_zeros,
                                const at::Tensor& dequantized) {
  const c10::NoGradGuard no_gradients;
  if (weight.codes.is_cpu()) return reduce_on_cpu(gradient, weight, with_zeros);
  return has_group_kernels(weight, gradient.scalar_type())
             ? reduce_on_gpu(gradient, weight, with_zeros)
             : by_operations::reduce_to_groups(gradient, weight, with_zeros, dequantized);
}

}  // namespace normtweak::weights
