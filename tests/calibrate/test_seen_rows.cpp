#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "normtweak/calibrate/seen_rows.h"

namespace normtweak::calibrate {
namespace {

const auto kIds = at::TensorOptions(at::kLong);

// Ids that occur once each, so that nothing is found by chance.
at::Tensor numbered(std::int64_t begin, std::int64_t count) { return at::arange(begin, begin + count, kIds); }

struct Case {
  const char* name;
  std::int64_t other_tokens, row_tokens;
  std::vector<std::int64_t> begins;  // of the rows; a negative one is found nowhere
  std::int64_t expected;
};

TEST(SeenRows, AreFoundWhereverTheyBegin) {
  const Case cases[] = {
      {"all", 1000, 64, {0, 17, 936}, 3},
      {"none", 1000, 64, {5000, 6000}, 0},
      {"some", 1000, 64, {5000, 333, 6000}, 1},
      {"the same row twice", 1000, 64, {100, 100}, 2},
      {"rows that end after the text", 1000, 96, {937, 968, 969}, 2},  // with 63, 32 and 31 tokens in common
      {"rows as long as a part", 1000, 32, {968, 969}, 1},
      {"short rows", 1000, 12, {3, 988, 989}, 2},
      {"rows too short to tell", 1000, 7, {3}, 0},
      {"a short text", 20, 64, {0, 10}, 1},  // its 20 tokens are a part of the first row
      {"a text too short to tell", 7, 64, {0}, 0},
  };
  for (const auto& row : cases) {
    std::vector<at::Tensor> rows;
    for (const auto begin : row.begins) rows.push_back(numbered(begin, row.row_tokens));
    const TokenBatch text = {.ids = at::stack(rows), .mask = {}, .provenance = {}};
    EXPECT_EQ(rows_seen_in(numbered(0, row.other_tokens), text), row.expected) << row.name;
  }
}

TEST(SeenRows, WindowsAreOneText) {
  const TokenBatch text = {.ids = numbered(40, 48).view({1, 48}), .mask = {}, .provenance = {}};
  EXPECT_EQ(rows_seen_in(numbered(0, 640).view({10, 64}), text), 1);  // across the end of a window
}

TEST(SeenRows, PaddingIsNoText) {
  const auto padded = at::cat({numbered(5000, 8), at::zeros({56}, kIds)}).view({1, 64});
  const TokenBatch text = {.ids = padded, .mask = padded.gt(0), .provenance = {}};
  EXPECT_EQ(rows_seen_in(at::zeros({200}, kIds), text), 0);
  EXPECT_EQ(rows_seen_in(at::zeros({200}, kIds), {.ids = padded, .mask = {}, .provenance = {}}), 1);
}

}  // namespace
}  // namespace normtweak::calibrate
