// The loss between logits on a CPU, against F64.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "normtweak/tweak/head_loss_cpu.h"

namespace normtweak::tweak {
namespace {

struct Logits {
  at::Tensor teacher, student;
};

Logits random_logits(std::int64_t tokens, std::int64_t vocabulary, double scale) {
  const auto teacher = at::randn({tokens, vocabulary}) * scale;
  return {teacher, teacher + at::randn({tokens, vocabulary}) * 0.5};
}

struct Loss {
  at::Tensor divergence, gradient;
};

Loss loss_of(const Logits& logits, at::ScalarType type) {
  Loss loss = {at::empty({logits.teacher.size(0)}), at::empty(logits.teacher.sizes(), type)};
  EXPECT_TRUE(has_loss_loop(logits.teacher, logits.student, type));
  loss_on_cpu(logits.teacher, logits.student, loss.divergence, loss.gradient);
  return loss;
}

Loss loss_in_f64(const Logits& logits) {
  const auto log_t = logits.teacher.log_softmax(-1, at::kDouble), log_s = logits.student.log_softmax(-1, at::kDouble);
  return {(log_t.exp() * (log_t - log_s)).sum(-1), log_s.exp() - log_t.exp()};
}

double largest(const at::Tensor& values) { return values.abs().max().item<double>(); }

TEST(HeadLossOnCpu, EqualsF64) {
  for (const std::int64_t vocabulary : {1, 2, 15, 16, 17, 1023, 1024, 1025, 5000}) {
    for (const double scale : {0.1, 3.0, 40.0, 1000.0}) {
      SCOPED_TRACE(testing::Message() << vocabulary << " logits of " << scale);
      const auto logits = random_logits(5, vocabulary, scale);
      const auto found = loss_of(logits, at::kFloat), wanted = loss_in_f64(logits);
      // A few units in the last place of a logarithm of a likely token's probability, whose logits may be far from 0.
      const double step = std::ldexp(std::max(1.0, std::log(static_cast<double>(vocabulary))), -23);
      EXPECT_LT(largest(found.divergence.to(at::kDouble) - wanted.divergence), 4 * step);
      EXPECT_LT(largest(found.gradient.to(at::kDouble) - wanted.gradient), 4 * step);
    }
  }
}

// Models that hardly differ, far from 0: nothing may be lost of what the logits hold.
TEST(HeadLossOnCpu, IsExactForLargeLogitsThatHardlyDiffer) {
  const auto teacher = at::randn({50, 5000}) * 3 + 60;
  const Logits logits = {teacher, teacher + at::randn({50, 5000}) * 0.02};
  const auto found = loss_of(logits, at::kFloat), wanted = loss_in_f64(logits);
  EXPECT_LT((found.divergence.to(at::kDouble) - wanted.divergence).square().mean().sqrt().item<double>(), 4e-7);
  EXPECT_LT(largest(found.gradient.sum(-1)), 2e-6);  // probabilities of both add up to 1
}

TEST(HeadLossOnCpu, WritesGradientsOfEitherType) {
  const auto logits = random_logits(7, 3000, 4);
  const auto in_f32 = loss_of(logits, at::kFloat), in_bf16 = loss_of(logits, at::kBFloat16);
  EXPECT_TRUE(in_bf16.divergence.equal(in_f32.divergence));
  EXPECT_TRUE(in_bf16.gradient.equal(in_f32.gradient.to(at::kBFloat16)));
  const auto alone = at::empty({7});
  loss_on_cpu(logits.teacher, logits.student, alone, {});
  EXPECT_TRUE(alone.equal(in_f32.divergence));
}

// Where a device has no product of bf16 numbers with an F32 result.
TEST(HeadLossOnCpu, WidensShortLogits) {
  const auto logits = random_logits(6, 2001, 3);
  const Logits rounded = {logits.teacher.to(at::kBFloat16), logits.student.to(at::kBFloat16)};
  const Logits widened = {rounded.teacher.to(at::kFloat), rounded.student.to(at::kFloat)};
  const auto found = loss_of(rounded, at::kBFloat16), wanted = loss_of(widened, at::kBFloat16);
  EXPECT_TRUE(found.divergence.equal(wanted.divergence));
  EXPECT_TRUE(found.gradient.equal(wanted.gradient));
}

TEST(HeadLossOnCpu, IsZeroBetweenEqualLogits) {
  const auto teacher = random_logits(3, 2000, 5).teacher;
  const auto loss = loss_of({teacher, teacher}, at::kFloat);
  EXPECT_EQ(largest(loss.divergence), 0);
  EXPECT_EQ(largest(loss.gradient), 0);
}

TEST(HeadLossOnCpu, DoesNotDependOnThreads) {
  const auto logits = random_logits(64, 1500, 4);
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const auto one = loss_of(logits, at::kFloat);
  at::set_num_threads(4);
  const auto four = loss_of(logits, at::kFloat);
  at::set_num_threads(before);
  EXPECT_TRUE(one.divergence.equal(four.divergence));
  EXPECT_TRUE(one.gradient.equal(four.gradient));
}

// What went wrong must show in the loss, on which a run stops.
TEST(HeadLossOnCpu, ShowsWhatIsNotFinite) {
  for (const double broken : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    for (const std::int64_t at : {0, 40, 1999}) {
      auto logits = random_logits(2, 2000, 3);
      logits.student[1][at] = broken;
      const auto loss = loss_of(logits, at::kFloat);
      EXPECT_TRUE(std::isfinite(loss.divergence[0].item<double>()));
      EXPECT_FALSE(std::isfinite(loss.divergence[1].item<double>()));
    }
  }
}

TEST(HeadLossOnCpu, TakesWhatItCanRead) {
  const auto logits = random_logits(4, 100, 1);
  EXPECT_FALSE(has_loss_loop(logits.teacher.to(at::kHalf), logits.student, at::kFloat));
  EXPECT_FALSE(has_loss_loop(logits.teacher, logits.student.t(), at::kFloat));
  EXPECT_FALSE(has_loss_loop(logits.teacher, logits.student, at::kHalf));
  EXPECT_FALSE(has_loss_loop(logits.teacher, random_logits(4, 101, 1).student, at::kFloat));
}

}  // namespace
}  // namespace normtweak::tweak
