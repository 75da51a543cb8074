// What CUDA kernels (cuda_kernel.h) share that read and write floats of several types: the start of their source.
#pragma once
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <string>

namespace normtweak {

inline constexpr std::int64_t kEight = 8;
inline constexpr unsigned int kThreadsOfEights = 256;  // in a block, where a thread takes eight neighbours

inline unsigned int blocks_of_eights(std::int64_t threads) {
  return static_cast<unsigned int>((threads + kThreadsOfEights - 1) / kThreadsOfEights);
}

// Eight neighbouring floats are one or two loads of 16 bytes, which is how a kernel bound by memory reaches the
// memory's speed. `type` is float_type_code() of the tensor; addresses must be multiples of 16 bytes.
inline constexpr const char* kEightFloats = R"(
struct Eight {
  float at[8];
};

__device__ unsigned int bf16_bits(float value) {
  if (value != value) return 0x7fc0;
  const unsigned int bits = __float_as_uint(value);
  return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

__device__ unsigned int f16_bits(float value) {
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}

__device__ float of_f16(unsigned int bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"((unsigned short)bits));
  return value;
}

__device__ float of_bits(unsigned int bits, int type) {
  return type == 2 ? __uint_as_float(bits << 16) : of_f16(bits);
}

// The `index`th eight of an array.
__device__ Eight load_eight(const void* floats, unsigned long long index, int type) {
  Eight eight;
  if (type == 0) {
    const float4* words = (const float4*)floats + 2 * index;
    const float4 low = words[0], high = words[1];
    eight = {{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
    return eight;
  }
  const uint4 words = ((const uint4*)floats)[index];
  const unsigned int word[4] = {words.x, words.y, words.z, words.w};
  #pragma unroll
  for (int i = 0; i < 4; ++i) {
    eight.at[2 * i] = of_bits(word[i] & 0xffff, type);
    eight.at[2 * i + 1] = of_bits(word[i] >> 16, type);
  }
  return eight;
}

__device__ void store_eight(void* floats, unsigned long long index, int type, const Eight& eight) {
  const float* at = eight.at;
  if (type == 0) {
    float4* words = (float4*)floats + 2 * index;
    words[0] = make_float4(at[0], at[1], at[2], at[3]);
    words[1] = make_float4(at[4], at[5], at[6], at[7]);
    return;
  }
  unsigned int word[4];
  #pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float low = at[2 * i], high = at[2 * i + 1];
    word[i] = type == 2 ? bf16_bits(low) | bf16_bits(high) << 16 : f16_bits(low) | f16_bits(high) << 16;
  }
  ((uint4*)floats)[index] = make_uint4(word[0], word[1], word[2], word[3]);
}
)";

// A kernel's source that begins with the above.
inline std::string with_eight_floats(const char* source) { return std::string(kEightFloats) + source; }

// nullopt: a type that the functions above do not know.
inline std::optional<int> float_type_code(c10::ScalarType type) {
  switch (type) {
    case c10::ScalarType::Float:
      return 0;
    case c10::ScalarType::Half:
      return 1;
    case c10::ScalarType::BFloat16:
      return 2;
    default:
      return std::nullopt;
  }
}

}  // namespace normtweak
