#include <ATen/Context.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <gtest/gtest.h>

#include <limits>

#include "normtweak/base/device/finite.h"

namespace normtweak {
namespace {

TEST(Finite, FindsASingleValueAnywhere) {
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf, at::kDouble}) {
    for (const auto place : {0, 500, 1033}) {
      for (const auto bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
                             -std::numeric_limits<double>::infinity()}) {
        const auto values = at::randn({1034}).to(type);
        EXPECT_TRUE(all_finite(values));
        values[place] = bad;
        EXPECT_FALSE(all_finite(values)) << type << " " << place << " " << bad;
        EXPECT_FALSE(all_finite(values.view({2, 517}).t()));
      }
    }
  }
}

TEST(Finite, LargestNumbersAreFinite) {
  const auto values = at::zeros({100}).fill_(std::numeric_limits<float>::max());
  EXPECT_TRUE(all_finite(values));
  EXPECT_TRUE(all_finite(-values));
  EXPECT_TRUE(all_finite(at::empty({0, 4})));
}

TEST(Finite, TakesNoMemoryOfTheTensorsSize) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU here";
  const auto values = at::zeros({std::int64_t{64} << 20}, at::TensorOptions(at::kFloat).device(at::kCUDA));
  auto* allocator = c10::getDeviceAllocator(at::kCUDA);
  const auto peak = [&] {
    return allocator->getDeviceStats(values.get_device())
        .allocated_bytes[static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE)]
        .peak;
  };
  const auto before = peak();
  EXPECT_TRUE(all_finite(values));
  EXPECT_LT(peak() - before, 16 << 20);
}

}  // namespace
}  // namespace normtweak
