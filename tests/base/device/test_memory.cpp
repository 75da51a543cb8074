// Sizes of memory as users write them, and what the machine has.
#include <gtest/gtest.h>
#include <unistd.h>

#include "normtweak/base/device/memory.h"
#include "normtweak/base/error.h"

namespace normtweak {
namespace {

TEST(Memory, SizesAreReadInTheirUnit) {
  struct Size {
    const char* text;
    std::int64_t bytes;
  };
  const Size sizes[] = {
      {"16GiB", std::int64_t{16} << 30},
      {"16G", std::int64_t{16} << 30},
      {"16GB", 16'000'000'000},
      {"800MiB", std::int64_t{800} << 20},
      {"800M", std::int64_t{800} << 20},
      {"1.5MB", 1'500'000},
      {"2 KiB", 2048},
      {"2K", 2048},
      {"2KB", 2000},
      {"123B", 123},
      {"123", 123},
  };
  for (const auto& size : sizes) EXPECT_EQ(parse_bytes(size.text), size.bytes) << size.text;
  for (const auto* wrong : {"", "GiB", "16TiB", "-1GiB", "0", "0.1B", "16 gib", "1e40", "nan", "inf", "1GiBs"}) {
    EXPECT_THROW(parse_bytes(wrong), Error) << wrong;
  }
}

TEST(Memory, SizesAreWrittenInTheirUnit) {
  EXPECT_EQ(bytes_text(std::int64_t{3} << 29), "1.5 GiB");
  EXPECT_EQ(bytes_text(std::int64_t{300} << 20), "300 MiB");
  EXPECT_EQ(bytes_text(1 << 20), "1 MiB");
  EXPECT_EQ(bytes_text(400 << 10), "400 KiB");
  EXPECT_EQ(bytes_text(1000), "1000 bytes");
  EXPECT_EQ(bytes_text(0), "0 bytes");
}

TEST(Memory, TheMachineHasSome) {
  const auto all = available_memory(c10::Device(c10::kCPU)), left = available_host_memory();
  EXPECT_GT(left, 0);
  EXPECT_LE(left, all);
  EXPECT_LE(all, std::int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE));
}

}  // namespace
}  // namespace normtweak
