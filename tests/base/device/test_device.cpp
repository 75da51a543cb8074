// Devices and float types by name.
#include <ATen/Context.h>
#include <gtest/gtest.h>

#include <vector>

#include "normtweak/base/device/device.h"
#include "normtweak/base/error.h"
#include "support/temporary_folder.h"

namespace normtweak {
namespace {
using tests::message_of;

TEST(Device, TheCpuIsAlwaysThere) { EXPECT_TRUE(choose_device("cpu").is_cpu()); }

TEST(Device, NoNameMeansAGpuIfThereIsOne) {
  EXPECT_EQ(choose_device(""), at::hasCUDA() ? c10::Device(at::kCUDA, 0) : c10::Device(at::kCPU));
}

TEST(Device, CudaMeansTheFirstGpu) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU here";
  EXPECT_EQ(choose_device("cuda"), c10::Device(at::kCUDA, 0));
  EXPECT_EQ(choose_device("cuda:0"), c10::Device(at::kCUDA, 0));
}

TEST(Device, AGpuThatIsNotThereIsRefused) {
  const auto message = message_of<Error>([] { choose_device("cuda:99"); });
  EXPECT_EQ(message.rfind("--device cuda:99: this machine shows ", 0), 0U) << message;
  EXPECT_NE(message.find("use --device cpu"), std::string::npos) << message;
  if (!at::hasCUDA()) {
    EXPECT_THROW(choose_device("cuda"), Error);
  }
}

TEST(Device, WhatIsNoDeviceIsRefusedInOneLine) {
  for (const auto* name : {"gpu", "cuda:", "cuda:x", "cuda:-1", "cuda 0", "CPU", "mps", "meta", "tpu:0"}) {
    const auto message = message_of<Error>([&] { choose_device(name); });
    EXPECT_EQ(message.rfind(std::string(name) + ": ", 0), 0U) << message;
    EXPECT_NE(message.find("use cpu, cuda or cuda:N"), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

struct TypeCase {
  at::ScalarType type;
  const char *name, *short_name;  // the first as config.json has it
};
const std::vector<TypeCase> kTypes = {
    {at::kFloat, "float32", "f32"}, {at::kBFloat16, "bfloat16", "bf16"}, {at::kHalf, "float16", "f16"}};

TEST(FloatType, HasTwoNames) {
  for (const auto& row : kTypes) {
    EXPECT_EQ(parse_float_type(row.name), row.type);
    EXPECT_EQ(parse_float_type(row.short_name), row.type);
    EXPECT_EQ(float_type_name(row.type), row.name);
  }
}

TEST(FloatType, OthersAreRefused) {
  for (const auto* name : {"", "float", "half", "int8", "F32", "float64"}) {
    EXPECT_EQ(message_of<Error>([&] { parse_float_type(name); }),
              std::string(name) + ": not a float type; use f32, bf16 or f16");
  }
  EXPECT_EQ(float_type_name(at::kDouble), "float64");  // a name for what is read, not a choice
  EXPECT_THROW(float_type_name(at::kByte), Error);
}

TEST(PeakMemory, CountsWhatWasHeldAndNeverFalls) {
  constexpr std::size_t kSize = std::size_t{64} << 20;
  const auto before = peak_memory_bytes(at::kCPU);
  {
    const std::vector<char> held(kSize, 1);
    EXPECT_GE(peak_memory_bytes(at::kCPU), before);
  }
  EXPECT_GE(peak_memory_bytes(at::kCPU), static_cast<std::int64_t>(kSize));
}

}  // namespace
}  // namespace normtweak
