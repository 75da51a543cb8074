#include "normtweak/model/decode_attention_kernel.h"

#include <fmt/format.h>

#include <map>
#include <mutex>
#include <string>
#include <utility>

namespace normtweak::model {
namespace {

// A block of threads serves some query heads of one row that share a key-value head. Each lane holds eight channels,
// which are 16 bytes of a key: D / 8 lanes a key, so that a warp reads 32 / (D / 8) keys at a time, and several before
// it uses the first. Softmax is summed up on the way (arXiv 1805.02867), by each group of lanes for its own keys, and
// merged at the end. D and QUERIES are defined in front of this text.
constexpr const char* kSource = R"(
constexpr int kLanes = D / 8, kKeys = 32 / kLanes, kWarps = 4, kAhead = 4;
constexpr float kLowest = -1e30f;

typedef unsigned short bf16;

__device__ float wide(unsigned int bits) { return __uint_as_float(bits << 16); }

__device__ bf16 rounded(float value) {
  if (value != value) return 0x7fc0;
  const unsigned int bits = __float_as_uint(value);
  return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

struct Channels {
  float at[8];
};

__device__ Channels wide(const uint4& packed) {
  const unsigned int words[4] = {packed.x, packed.y, packed.z, packed.w};
  Channels all;
  #pragma unroll
  for (int i = 0; i < 4; ++i) {
    all.at[2 * i] = wide(words[i] & 0xffff);
    all.at[2 * i + 1] = wide(words[i] >> 16);
  }
  return all;
}

__device__ float turned(const bf16* head, int channel, const float* cosine, const float* sine, int pairs,
                        int interleaved) {
  const float own = wide(head[channel]);
  if (channel >= 2 * pairs) return own;
  const int pair = interleaved ? channel / 2 : channel % pairs;
  const bool second = interleaved ? channel % 2 : channel >= pairs;
  const int other = interleaved ? channel ^ 1 : second ? channel - pairs : channel + pairs;
  const float change = wide(head[other]) * sine[pair];
  return wide(rounded(own * cosine[pair] + (second ? change : -change)));
}

extern "C" __global__ void decode_attention(const bf16* query, const bf16* key, const bf16* value, const float* cosine,
                                            const float* sine, bf16* keys, bf16* values, bf16* output,
                                            int query_stride, int key_stride, int value_stride, int capacity,
                                            int pairs, int interleaved, int heads, int shared, int first, int position,
                                            float scale) {
  __shared__ float turned_query[QUERIES][D], turned_key[D];
  __shared__ float mixes[kWarps][QUERIES][D], tops[kWarps][QUERIES], sums[kWarps][QUERIES];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int channel = lane % kLanes * 8, own_key = lane / kLanes;
  const int tiles = heads / shared / QUERIES;
  const int tile = blockIdx.x % tiles;
  const long long place = blockIdx.x / tiles;  // a row and a key-value head
  const long long row = place / shared, head = place % shared;
  const long long first_query = (head * tiles + tile) * QUERIES;
  const bf16* own_value = value + row * value_stride + head * D;

  for (int i = threadIdx.x; i < (QUERIES + 1) * D; i += kWarps * 32) {
    const int which = i / D, at = i % D;
    if (which < QUERIES) {
      const bf16* from = query + row * query_stride + (first_query + which) * D;
      turned_query[which][at] = turned(from, at, cosine, sine, pairs, interleaved) * (scale * 1.44269504f);
    } else {
      turned_key[at] = turned(key + row * key_stride + head * D, at, cosine, sine, pairs, interleaved);
    }
  }
  __syncthreads();
  if (tile == 0) {
    for (int at = threadIdx.x; at < D; at += kWarps * 32) {
      const long long to = (place * capacity + position) * D + at;
      keys[to] = rounded(turned_key[at]);
      values[to] = own_value[at];
    }
  }

  float own_query[QUERIES][8], mix[QUERIES][8], top[QUERIES], sum[QUERIES];
  #pragma unroll
  for (int q = 0; q < QUERIES; ++q) {
    float score = 0;
    #pragma unroll
    for (int c = 0; c < 8; ++c) {
      own_query[q][c] = turned_query[q][channel + c];
      score += own_query[q][c] * turned_key[channel + c];
    }
    #pragma unroll
    for (int step = 1; step < kLanes; step *= 2) score += __shfl_xor_sync(0xffffffffu, score, step);
    const bool begins = warp == 0 && own_key == 0;  // with the new token
    top[q] = begins ? score : kLowest;
    sum[q] = begins ? 1 : 0;
    #pragma unroll
    for (int c = 0; c < 8; ++c) mix[q][c] = begins ? wide(own_value[channel + c]) : 0;
  }

  const uint4* cached_keys = (const uint4*)(keys + place * capacity * D + channel);
  const uint4* cached_values = (const uint4*)(values + place * capacity * D + channel);
  for (int begin = first + warp * kKeys * kAhead; begin < position; begin += kWarps * kKeys * kAhead) {
    uint4 near_keys[kAhead], near_values[kAhead];
    #pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int at = begin + i * kKeys + own_key;
      const uint4 nothing = {0, 0, 0, 0};
      near_keys[i] = at < position ? cached_keys[(long long)at * kLanes] : nothing;
      near_values[i] = at < position ? cached_values[(long long)at * kLanes] : nothing;
    }
    float scores[QUERIES][kAhead];
    #pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const Channels near = wide(near_keys[i]);
      #pragma unroll
      for (int q = 0; q < QUERIES; ++q) {
        float score = 0;
        #pragma unroll
        for (int c = 0; c < 8; ++c) score += own_query[q][c] * near.at[c];
        #pragma unroll
        for (int step = 1; step < kLanes; step *= 2) score += __shfl_xor_sync(0xffffffffu, score, step);
        scores[q][i] = begin + i * kKeys + own_key < position ? score : kLowest;
      }
    }
    #pragma unroll
    for (int q = 0; q < QUERIES; ++q) {
      float higher = top[q];
      #pragma unroll
      for (int i = 0; i < kAhead; ++i) higher = fmaxf(higher, scores[q][i]);
      const float shrunk = exp2f(top[q] - higher);
      top[q] = higher;
      sum[q] *= shrunk;
      #pragma unroll
      for (int c = 0; c < 8; ++c) mix[q][c] *= shrunk;
    }
    #pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const Channels near = wide(near_values[i]);
      #pragma unroll
      for (int q = 0; q < QUERIES; ++q) {
        const float share = scores[q][i] > kLowest ? exp2f(scores[q][i] - top[q]) : 0;
        sum[q] += share;
        #pragma unroll
        for (int c = 0; c < 8; ++c) mix[q][c] += share * near.at[c];
      }
    }
  }

  #pragma unroll
  for (int q = 0; q < QUERIES; ++q) {
    #pragma unroll
    for (int step = kLanes; step < 32; step *= 2) {
      const float other_top = __shfl_xor_sync(0xffffffffu, top[q], step);
      const float higher = fmaxf(top[q], other_top);
      const float shrunk = exp2f(top[q] - higher), other_shrunk = exp2f(other_top - higher);
      sum[q] = sum[q] * shrunk + __shfl_xor_sync(0xffffffffu, sum[q], step) * other_shrunk;
      #pragma unroll
      for (int c = 0; c < 8; ++c) {
        mix[q][c] = mix[q][c] * shrunk + __shfl_xor_sync(0xffffffffu, mix[q][c], step) * other_shrunk;
      }
      top[q] = higher;
    }
    if (own_key == 0) {
      #pragma unroll
      for (int c = 0; c < 8; ++c) mixes[warp][q][channel + c] = mix[q][c];
      tops[warp][q] = top[q];
      sums[warp][q] = sum[q];
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < QUERIES * D; i += kWarps * 32) {
    const int q = i / D, at = i % D;
    float higher = kLowest, total = 0, mixed = 0;
    #pragma unroll
    for (int w = 0; w < kWarps; ++w) higher = fmaxf(higher, tops[w][q]);
    #pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const float shrunk = exp2f(tops[w][q] - higher);
      total += sums[w][q] * shrunk;
      mixed += mixes[w][q][at] * shrunk;
    }
    output[(row * heads + first_query + q) * D + at] = rounded(mixed / total);
  }
}
)";

static_assert(kDecodeWarps == 4, "the kernel's kWarps");

struct Compiled {
  Compiled(std::int64_t head_size, std::int64_t queries)
      : source(fmt::format("#define D {}\n#define QUERIES {}\n{}", head_size, queries, kSource)),
        kernel("decode_attention", source.c_str()) {}
  std::string source;
  CudaKernel kernel;
};

}  // namespace

std::int64_t queries_together(std::int64_t queries) {
  constexpr std::int64_t kMost = 4;  // by the registers of a thread
  auto together = std::min(queries, kMost);
  while (queries % together != 0) --together;
  return together;
}

CudaKernel* decode_attention_kernel(std::int64_t head_size, std::int64_t queries) {
  if (head_size != 32 && head_size != 64 && head_size != 128 && head_size != 256) return nullptr;
  static std::mutex mutex;
  static std::map<std::pair<std::int64_t, std::int64_t>, Compiled> compiled;  // stays, as do the kernels
  const std::scoped_lock lock(mutex);
  const auto together = queries_together(queries);
  return &compiled.try_emplace({head_size, together}, head_size, together).first->second.kernel;
}

}  // namespace normtweak::model
