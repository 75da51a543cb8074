#include "normtweak/weights/group_cuda_kernels.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

#include "normtweak/base/device/cuda_kernel.h"
#include "normtweak/base/device/eight_floats.h"

namespace normtweak::weights {
namespace {

// A thread for eight neighbouring codes. Rows are whole groups, so that groups are counted through the matrix.
constexpr const char* kDequantize = R"(
extern "C" __global__ void dequantize_groups(const uint2* codes, const float* scales, const float* zeros, void* values,
                                             unsigned int eights, unsigned int eights_per_group, int type) {
  const unsigned int index = blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= eights) return;
  const unsigned int group = index / eights_per_group;
  const float scale = scales[group], zero = zeros[group];
  const uint2 packed = codes[index];
  Eight eight;
  #pragma unroll
  for (int i = 0; i < 8; ++i) {
    eight.at[i] = ((float)(((i < 4 ? packed.x : packed.y) >> (8 * (i % 4))) & 0xff) - zero) * scale;
  }
  store_eight(values, index, type, eight);
}
)";

// `lanes` threads, a power of two, share a group.
constexpr const char* kReduce = R"(
extern "C" __global__ void reduce_to_groups(const void* gradient, const uint2* codes, const float* scales,
                                            const float* zeros, float* of_scales, float* of_zeros, unsigned int groups,
                                            unsigned int eights_per_group, unsigned int lanes, int type) {
  const unsigned int thread = blockIdx.x * blockDim.x + threadIdx.x;
  const unsigned int own = thread / lanes, lane = thread % lanes;
  const unsigned int group = min(own, groups - 1);  // all threads of a warp take part in its shuffles
  const float zero = zeros[group];
  float products = 0, plain = 0;
  for (unsigned int i = lane; i < eights_per_group; i += lanes) {
    const unsigned int index = group * eights_per_group + i;
    const uint2 packed = codes[index];
    const Eight eight = load_eight(gradient, index, type);
    #pragma unroll
    for (int k = 0; k < 8; ++k) {
      products += eight.at[k] * ((float)(((k < 4 ? packed.x : packed.y) >> (8 * (k % 4))) & 0xff) - zero);
      plain += eight.at[k];
    }
  }
  for (unsigned int step = lanes / 2; step > 0; step /= 2) {
    products += __shfl_down_sync(0xffffffffu, products, step, lanes);
    plain += __shfl_down_sync(0xffffffffu, plain, step, lanes);
  }
  if (lane > 0 || own >= groups) return;
  of_scales[group] = products;
  if (of_zeros) of_zeros[group] = -scales[group] * plain;
}
)";

CudaKernel& dequantize_kernel() {
  static const auto source = with_eight_floats(kDequantize);
  static CudaKernel kernel("dequantize_groups", source.c_str());
  return kernel;
}

CudaKernel& reduce_kernel() {
  static const auto source = with_eight_floats(kReduce);
  static CudaKernel kernel("reduce_to_groups", source.c_str());
  return kernel;
}

}  // namespace

bool has_group_kernels(const AffineWeight& weight, at::ScalarType type) {
  const auto& codes = weight.codes;
  const bool fits = codes.is_cuda() && columns_per_group(weight) % kEight == 0 && float_type_code(type) &&
                    codes.numel() < std::numeric_limits<std::uint32_t>::max();
  return fits && dequantize_kernel().unavailable(codes.device()).empty() &&
         reduce_kernel().unavailable(codes.device()).empty();
}

at::Tensor dequantize_on_gpu(const AffineWeight& weight, at::ScalarType type) {
  // Copies, whose addresses are aligned, unless they are contiguous already.
  const auto codes = weight.codes.contiguous(), scales = weight.scales.contiguous(), zeros = weight.zeros.contiguous();
  auto values = at::empty(codes.sizes(), scales.options().dtype(type));
  const auto *code = codes.const_data_ptr(), *scale = scales.const_data_ptr(), *zero = zeros.const_data_ptr();
  auto* value = values.data_ptr();
  const auto eights = static_cast<unsigned int>(codes.numel() / kEight),
             eights_per_group = static_cast<unsigned int>(columns_per_group(weight) / kEight);
  const int type_code = *float_type_code(type);
  auto arguments = arguments_of(code, scale, zero, value, eights, eights_per_group, type_code);
  dequantize_kernel().launch(codes.device(), blocks_of_eights(eights), kThreadsOfEights, arguments);
  return values;
}

GroupGradients reduce_on_gpu(const at::Tensor& gradient, const AffineWeight& weight, bool with_zeros) {
  const auto codes = weight.codes.contiguous(), scales = weight.scales.contiguous(), zeros = weight.zeros.contiguous();
  const auto of_weight = gradient.contiguous();
  GroupGradients result = {at::empty_like(scales), with_zeros ? at::empty_like(scales) : at::Tensor()};
  const auto *gradients = of_weight.const_data_ptr(), *code = codes.const_data_ptr(), *scale = scales.const_data_ptr(),
             *zero = zeros.const_data_ptr();
  auto *of_scales = result.scales.data_ptr(), *of_zeros = with_zeros ? result.zeros.data_ptr() : nullptr;
  const auto groups = static_cast<unsigned int>(scales.numel()),
             eights_per_group = static_cast<unsigned int>(columns_per_group(weight) / kEight),
             lanes = std::min<unsigned int>(kWarp, std::bit_floor(eights_per_group));
  const int type_code = *float_type_code(of_weight.scalar_type());
  auto arguments =
      arguments_of(gradients, code, scale, zero, of_scales, of_zeros, groups, eights_per_group, lanes, type_code);
  reduce_kernel().launch(codes.device(), blocks_of_eights(static_cast<std::int64_t>(groups) * lanes), kThreadsOfEights,
                         arguments);
  return result;
}

}  // namespace normtweak::weights
