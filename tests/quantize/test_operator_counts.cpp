// Bounds on the calls of operators that more columns of a linear take: a GPU waits for its launches if there are many
// for each block of columns. Blocks and groups have 128 columns here.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <array>

#include "normtweak/quantize/coordinate_descent.h"
#include "normtweak/quantize/drift.h"
#include "normtweak/quantize/gptq.h"
#include "normtweak/quantize/gptq_block.h"
#include "normtweak/quantize/unit_triangle.h"
#include "support/counted_operators.h"

namespace normtweak::quantize {
namespace {

constexpr std::int64_t kFew = 1024, kMany = 2048, kMoreBlocks = (kMany - kFew) / kRoundedColumns;
constexpr std::int64_t kOut = 48;  // channels that a CPU, too, rounds together

at::Tensor hessian_of(std::int64_t in) {
  const auto x = at::randn({128, in});
  return at::matmul(x.t(), x) / 128 + at::eye(in) * 0.1;
}

struct Counts {
  std::int64_t operators, waits;
};

template <class Work>
Counts counts_of(const Work& work) {
  const tests::CountedOperators counted;
  work();
  return {counted.all(), counted.waits()};
}

// What `kMany` columns take more than `kFew`, of the counts that `work` returns for a number of columns.
template <class Work>
Counts more_columns(const Work& work) {
  const at::NoGradGuard no_gradients;
  const Counts few = work(kFew), many = work(kMany);
  return {many.operators - few.operators, many.waits - few.waits};
}

Counts rounding(std::int64_t in) {
  const auto weight = at::randn({kOut, in});
  const auto factor = factor_hessian(hessian_of(in), {.act_order = true});
  return counts_of([&] { quantize_gptq(weight, factor, AffineOptions{.group_size = kRoundedColumns}); });
}

Counts sweep(std::int64_t in) {
  const auto weight = at::randn({kOut, in}), hessian = hessian_of(in);
  auto rounded = quantize_gptq(weight, factor_hessian(hessian, {}), AffineOptions{.group_size = kRoundedColumns});
  return counts_of([&] { descend(rounded, weight, hessian, 0.01, 1); });
}

Counts correction(std::int64_t in) {
  const auto weight = at::randn({kOut, in}), other = hessian_of(in);
  const InputHessian hessian(hessian_of(in));
  const std::array<DriftHalf, 2> halves = {
      {{hessian, {.inputs = other, .residual = {}}}, {InputHessian(other), {.inputs = other, .residual = {}}}}};
  const FactorOptions options;
  hessian.factor(options);
  for (const auto& half : halves) half.hessian.factor(options);
  const auto counts = counts_of([&] { correct_drift(weight, hessian, halves, options, 1); });
  EXPECT_EQ(counts.waits, 0);
  return counts;
}

TEST(OperatorCounts, ABlockOfColumnsTakesAProductAndAKernel) {
  const auto more = more_columns(rounding);
  constexpr std::int64_t kOfBlock = 40;  // most of them views
  EXPECT_LE(more.operators, kMoreBlocks * kOfBlock);
  EXPECT_EQ(more.waits, 0);
}

TEST(OperatorCounts, ABlockOfColumnsInASweep) {
  const auto more = more_columns(sweep);
  constexpr std::int64_t kOfBlock = 50, kOfGroup = 30;
  EXPECT_LE(more.operators, kMoreBlocks * (kOfBlock + kOfGroup));
  EXPECT_EQ(more.waits, 0);
}

TEST(OperatorCounts, EquationsOfDrift) {
  constexpr std::int64_t kEquations = 3 * 2;  // of each half and of the whole, with the factor and its transpose
  constexpr std::int64_t kOfBlock = 40;
  EXPECT_LE(more_columns(correction).operators, kEquations * (kMany - kFew) / kSolvedColumns * kOfBlock);
}

}  // namespace
}  // namespace normtweak::quantize
