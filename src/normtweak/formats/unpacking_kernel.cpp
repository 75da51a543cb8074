#include "normtweak/formats/unpacking_kernel.h"

#include <ATen/ops/empty.h>

#include "normtweak/base/device/cuda_kernel.h"
#include "normtweak/base/device/eight_floats.h"

namespace normtweak::formats {
namespace {

// A thread for eight neighbouring codes of a row, which are `bits` whole bytes. The last of a row may be fewer.
constexpr const char* kUnpack = R"(
extern "C" __global__ void unpack_codes(const unsigned char* packed, unsigned char* codes, long long threads,
                                        int eights_of_row, int row_bytes, int columns, int bits) {
  const long long index = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= threads) return;
  const long long row = index / eights_of_row;
  const int eight = (int)(index % eights_of_row), first = eight * bits;
  const unsigned char* from = packed + row * row_bytes + first;
  unsigned long long word = 0;
  for (int i = 0; i < bits; ++i) {
    if (first + i < row_bytes) word |= (unsigned long long)from[i] << (8 * i);
  }
  unsigned int halves[2] = {0, 0};
  const unsigned int mask = (1u << bits) - 1;
  for (int i = 0; i < 8; ++i) halves[i / 4] |= ((unsigned int)(word >> (bits * i)) & mask) << (8 * (i % 4));
  unsigned char* to = codes + row * columns + 8 * (long long)eight;
  if (columns % 8 == 0) {
    ((unsigned int*)to)[0] = halves[0];
    ((unsigned int*)to)[1] = halves[1];
    return;
  }
  for (int i = 0; i < 8 && 8 * eight + i < columns; ++i) to[i] = (unsigned char)(halves[i / 4] >> (8 * (i % 4)));
}
)";

CudaKernel& unpack_kernel() {
  static CudaKernel kernel("unpack_codes", kUnpack);
  return kernel;
}

}  // namespace

bool has_unpacking_kernel(c10::Device device) {
  return device.is_cuda() && unpack_kernel().unavailable(device).empty();
}

at::Tensor unpack_on_gpu(const at::Tensor& packed, int bits, std::int64_t columns) {
  const auto source = packed.contiguous();
  auto codes = at::empty({source.size(0), columns}, source.options().dtype(at::kByte));
  if (codes.numel() == 0) return codes;
  const auto* from = source.const_data_ptr();
  auto* to = codes.data_ptr();
  const auto eights = (columns + kEight - 1) / kEight;
  const auto threads = static_cast<long long>(source.size(0) * eights);
  const int eights_of_row = static_cast<int>(eights),
            row_bytes = static_cast<int>(source.size(1) * static_cast<std::int64_t>(source.element_size())),
            columns_of_row = static_cast<int>(columns);
  auto arguments = arguments_of(from, to, threads, eights_of_row, row_bytes, columns_of_row, bits);
  unpack_kernel().launch(source.device(), blocks_of_eights(threads), kThreadsOfEights, arguments);
  return codes;
}

}  // namespace normtweak::formats
