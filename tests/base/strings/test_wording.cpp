// Expected: Python's f"{value:.4f}" and f"{value:.2g}", written by hand.
#include <gtest/gtest.h>

#include "normtweak/base/device/type_name.h"
#include "normtweak/base/strings/wording.h"

namespace normtweak {
namespace {

TEST(Wording, CountsAreSingularOrPlural) {
  EXPECT_EQ(counted(0, "row"), "0 rows");
  EXPECT_EQ(counted(1, "row"), "1 row");
  EXPECT_EQ(counted(2, "token"), "2 tokens");
}

TEST(Wording, SmallFiguresKeepTwoDigits) {
  struct Row {
    double value;
    const char* shown;
  };
  const Row rows[] = {{0, "0"},
                      {12.34567, "12.3457"},
                      {0.15, "0.1500"},
                      {0.001, "0.0010"},
                      {0.00042, "0.00042"},
                      {4.2e-06, "4.2e-06"},
                      {-4.2e-06, "-4.2e-06"},
                      {-0.15, "-0.1500"}};
  for (const auto& row : rows) EXPECT_EQ(figure(row.value), row.shown);
}

TEST(Wording, TypesHaveTheNamesOfCheckpoints) {
  EXPECT_EQ(type_name(at::kLong), "I64");
  EXPECT_EQ(type_name(at::kBFloat16), "BF16");
  EXPECT_EQ(type_name(at::kComplexFloat), "ComplexFloat");
}

}  // namespace
}  // namespace normtweak
