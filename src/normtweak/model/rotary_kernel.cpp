#include "normtweak/model/rotary_kernel.h"

#include <ATen/ops/empty.h>

#include <cstdint>
#include <limits>

#include "normtweak/base/device/cuda_kernel.h"
#include "normtweak/base/device/eight_floats.h"

namespace normtweak::model {
namespace {

// A thread turns eight pairs, or copies eight channels that are not rotated. Strides are in eights of channels.
constexpr const char* kSource = R"(
extern "C" __global__ void turn_heads(const void* heads, const float* cosine, const float* sine, void* turned,
                                      unsigned int threads, int tokens, int heads_of_token, int eights_of_pairs,
                                      int eights_of_head, long long sample_stride, long long token_stride,
                                      long long head_stride, float direction, int type) {
  const unsigned int thread = blockIdx.x * blockDim.x + threadIdx.x;
  if (thread >= threads) return;
  const int parts = eights_of_head - eights_of_pairs;
  const int part = thread % parts;
  const unsigned int row = thread / parts;
  const int head = row % heads_of_token;
  const unsigned int at_token = row / heads_of_token;
  const int token = at_token % tokens;
  const long long from = at_token / tokens * sample_stride + token * token_stride + head * head_stride;
  const unsigned long long to = (unsigned long long)row * eights_of_head;
  if (part >= eights_of_pairs) {
    const int channel = part + eights_of_pairs;
    store_eight(turned, to + channel, type, load_eight(heads, from + channel, type));
    return;
  }
  const unsigned long long angle = (unsigned long long)token * eights_of_pairs + part;
  const Eight c = load_eight(cosine, angle, 0), s = load_eight(sine, angle, 0);
  const Eight first = load_eight(heads, from + part, type),
              second = load_eight(heads, from + eights_of_pairs + part, type);
  Eight low, high;
  #pragma unroll
  for (int i = 0; i < 8; ++i) {
    const float turn = direction * s.at[i];
    low.at[i] = first.at[i] * c.at[i] - second.at[i] * turn;
    high.at[i] = second.at[i] * c.at[i] + first.at[i] * turn;
  }
  store_eight(turned, to + part, type, low);
  store_eight(turned, to + eights_of_pairs + part, type, high);
}
)";

CudaKernel& rotary_kernel() {
  static const auto source = with_eight_floats(kSource);
  static CudaKernel kernel("turn_heads", source.c_str());
  return kernel;
}

// Loads of 16 bytes need the channels of a head side by side, and every head at a multiple of eight channels.
bool has_aligned_heads(const at::Tensor& heads) {
  if (heads.stride(3) != 1 || heads.storage_offset() % kEight != 0) return false;
  return heads.stride(0) % kEight == 0 && heads.stride(1) % kEight == 0 && heads.stride(2) % kEight == 0;
}

}  // namespace

bool has_rotary_kernel(const at::Tensor& heads, const at::Tensor& cosine, bool interleaved) {
  const bool fits = heads.is_cuda() && !interleaved && cosine.size(-1) % kEight == 0 && heads.size(3) % kEight == 0 &&
                    float_type_code(heads.scalar_type()) && heads.numel() < std::numeric_limits<std::uint32_t>::max();
  return fits && rotary_kernel().unavailable(heads.device()).empty();
}

at::Tensor turn_on_gpu(const at::Tensor& heads, const at::Tensor& cosine, const at::Tensor& sine, double direction) {
  const auto source = has_aligned_heads(heads) ? heads : heads.contiguous();
  const auto whole_cosine = cosine.contiguous(), whole_sine = sine.contiguous();
  auto turned = at::empty(heads.sizes(), heads.options());
  const void *from = source.const_data_ptr(), *c = whole_cosine.const_data_ptr(), *s = whole_sine.const_data_ptr();
  void* to = turned.data_ptr();
  auto tokens = static_cast<int>(heads.size(1)), heads_of_token = static_cast<int>(heads.size(2)),
       eights_of_pairs = static_cast<int>(cosine.size(-1) / kEight),
       eights_of_head = static_cast<int>(heads.size(3) / kEight), type = *float_type_code(heads.scalar_type());
  auto sample_stride = source.stride(0) / kEight, token_stride = source.stride(1) / kEight,
       head_stride = source.stride(2) / kEight;
  auto factor = static_cast<float>(direction);
  auto threads = static_cast<unsigned int>(heads.numel() / heads.size(3) * (eights_of_head - eights_of_pairs));
  auto arguments = arguments_of(from, c, s, to, threads, tokens, heads_of_token, eights_of_pairs, eights_of_head,
                                sample_stride, token_stride, head_stride, factor, type);
  rotary_kernel().launch(heads.device(), blocks_of_eights(threads), kThreadsOfEights, arguments);
  return turned;
}

}  // namespace normtweak::model
