#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <gtest/gtest.h>

#include <array>

#include "normtweak/base/device/cuda_kernel.h"
#include "normtweak/base/error.h"

namespace normtweak {
namespace {

const c10::Device kGpu(at::kCUDA, 0);

TEST(CudaKernel, SaysWhyThereIsNone) {
  CudaKernel broken("broken", "extern \"C\" __global__ void broken() { no such thing; }");
  EXPECT_NE(broken.unavailable(kGpu), "");
  EXPECT_EQ(broken.unavailable(kGpu), broken.unavailable(kGpu));
  EXPECT_EQ(broken.unavailable(kGpu).find('\n'), std::string::npos);
  EXPECT_THROW(broken.launch(kGpu, 1, 1, {}), Error);
}

TEST(CudaKernel, RunsOnTheStreamOfTorch) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU here";
  CudaKernel kernel("add", R"(extern "C" __global__ void add(float* values, float addend, int count) {
                                const int i = blockIdx.x * blockDim.x + threadIdx.x;
                                if (i < count) values[i] += addend;
                              })");
  ASSERT_EQ(kernel.unavailable(kGpu), "");
  const auto values = at::arange(1000, at::TensorOptions(at::kFloat).device(kGpu)).mul_(2);
  void* pointer = values.data_ptr();
  float addend = 0.5;
  int count = 900;
  std::array<void*, 3> arguments = {static_cast<void*>(&pointer), &addend, &count};
  kernel.launch(kGpu, 4, 256, arguments);
  const auto wanted = at::arange(1000, at::kFloat).mul_(2);
  wanted.slice(0, 0, 900).add_(0.5);
  EXPECT_TRUE(values.cpu().equal(wanted));
}

}  // namespace
}  // namespace normtweak
