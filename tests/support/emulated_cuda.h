// Enough of CUDA to run the text of a kernel as C++ on a CPU, where no GPU is at hand: a thread for each lane of a
// warp, which meet where lanes exchange values. Include it before the kernel's text, and call emulated_launch().
#pragma once
#include <math.h>  // exp2f and others, without a namespace

#include <barrier>
#include <cstring>
#include <thread>
#include <vector>

#define __global__
#define __device__ static

inline constexpr int kEmulatedWarp = 32;

struct EmulatedIndex {
  int x;
};
static thread_local EmulatedIndex threadIdx, blockIdx, blockDim;

// Of one warp.
struct EmulatedExchange {
  std::barrier<> meeting{kEmulatedWarp};
  double values[kEmulatedWarp];
};
static thread_local EmulatedExchange* emulated_exchange;

// All lanes of the warp take part; a lane that is not there leaves its own value, as on a GPU.
template <class Value>
Value emulated_shuffle(Value value, int from) {
  auto& exchange = *emulated_exchange;
  const int lane = threadIdx.x % kEmulatedWarp;
  exchange.values[lane] = value;
  exchange.meeting.arrive_and_wait();
  const auto found = static_cast<Value>(exchange.values[from < kEmulatedWarp ? from : lane]);
  exchange.meeting.arrive_and_wait();
  return found;
}
template <class Value>
Value __shfl_sync(unsigned, Value value, int lane) {
  return emulated_shuffle(value, lane);
}
template <class Value>
Value __shfl_down_sync(unsigned, Value value, int distance) {
  return emulated_shuffle(value, threadIdx.x % kEmulatedWarp + distance);
}

template <class Value>
Value __shfl_xor_sync(unsigned, Value value, int mask) {
  return emulated_shuffle(value, (threadIdx.x % kEmulatedWarp) ^ mask);
}

// In place of base/device/eight_floats.h: floats of 32 bits alone.
struct Eight {
  float at[8];
};
__device__ Eight load_eight(const void* floats, unsigned long long index, int) {
  Eight eight;
  std::memcpy(&eight, static_cast<const float*>(floats) + 8 * index, sizeof eight);
  return eight;
}
__device__ void store_eight(void* floats, unsigned long long index, int, const Eight& eight) {
  std::memcpy(static_cast<float*>(floats) + 8 * index, &eight, sizeof eight);
}

inline float __int_as_float(int bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline float rsqrtf(float value) { return 1 / sqrtf(value); }

// Runs blocks of one warp, one after the other.
template <class Kernel>
void emulated_launch(int blocks, const Kernel& kernel) {
  for (int block = 0; block < blocks; ++block) {
    EmulatedExchange exchange;
    std::vector<std::jthread> lanes;
    for (int lane = 0; lane < kEmulatedWarp; ++lane) {
      lanes.emplace_back([&exchange, &kernel, block, lane] {
        threadIdx = {lane}, blockIdx = {block}, blockDim = {kEmulatedWarp};
        emulated_exchange = &exchange;
        kernel();
      });
    }
  }
}
