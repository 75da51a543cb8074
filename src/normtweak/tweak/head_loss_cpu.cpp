#include "normtweak/tweak/head_loss_cpu.h"

#include <ATen/Parallel.h>
#include <c10/util/BFloat16.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "normtweak/base/device/target_clones.h"

namespace normtweak::tweak {
namespace {

constexpr std::int64_t kLanes = 16;  // partial results side by side: one AVX-512 register
using Lanes = std::array<float, kLanes>;

// exp(x) for x < 88, within 2 units in the last place; below -87, exp(-87). In plain arithmetic, so that the compiler
// can do it in lanes: exp(x) = 2ⁿ exp(r) with n = round(x / ln 2), and a polynomial for |r| <= ln(2) / 2, whose
// coefficients are those of Cephes (expf.c).
inline float exponential(float x) {
  constexpr float kRound = 0x1.8p23F;  // added to a small number, it leaves the nearest integer in the lowest bits
  const float clamped = x < -87.0F ? -87.0F : x;
  const float rounded = clamped * 1.44269504F + kRound;
  const float n = rounded - kRound;
  const float r = (clamped - n * 0.693359375F) + n * 2.12194440e-4F;
  float power = 1.9875691500e-4F;
  power = power * r + 1.3981999507e-3F;
  power = power * r + 8.3334519073e-3F;
  power = power * r + 4.1665795894e-2F;
  power = power * r + 1.6666665459e-1F;
  power = power * r + 5.0000001201e-1F;
  power = power * r * r + r + 1.0F;
  return power * std::bit_cast<float>((std::bit_cast<std::uint32_t>(rounded) + 127U) << 23U);
}

NORMTWEAK_TARGET_CLONES float greatest_of(const float* logits, std::int64_t count) {
  Lanes greatest;
  greatest.fill(-std::numeric_limits<float>::infinity());
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float logit = logits[i + static_cast<std::int64_t>(lane)];
      greatest[lane] = logit > greatest[lane] ? logit : greatest[lane];
    }
  }
  float most = *std::ranges::max_element(greatest);
  for (; i < count; ++i) most = std::max(most, logits[i]);
  return most;
}

// Σ exp(logit - greatest)
NORMTWEAK_TARGET_CLONES float sum_of_exponentials(const float* logits, float greatest, std::int64_t count) {
  Lanes sums = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      sums[lane] += exponential(logits[i + static_cast<std::int64_t>(lane)] - greatest);
    }
  }
  float sum = 0;
  for (const auto own : sums) sum += own;
  for (; i < count; ++i) sum += exponential(logits[i] - greatest);
  return sum;
}

// A token's logits in one model, and what makes their logarithms of probabilities: (logit - greatest) - log_sum. The
// first difference is small where it counts, so that it loses nothing.
struct Model {
  const float* logits;
  float greatest, log_sum;

  Model from(std::int64_t first) const { return {logits + first, greatest, log_sum}; }
};

// F32 sums of so many numbers at a time are added up in F64.
constexpr std::int64_t kAtOnce = 1024;

Model model_of(const float* logits, std::int64_t vocabulary) {
  const float greatest = greatest_of(logits, vocabulary);
  double sum = 0;
  for (std::int64_t first = 0; first < vocabulary; first += kAtOnce) {
    sum += static_cast<double>(sum_of_exponentials(logits + first, greatest, std::min(kAtOnce, vocabulary - first)));
  }
  return {logits, greatest, static_cast<float>(std::log(sum))};
}

// Of some logits: writes p_s - p_t, and returns Σ p_t (log p_t - log p_s).
NORMTWEAK_TARGET_CLONES float divergence_of(Model teacher, Model student, std::int64_t count, float* difference) {
  Lanes sums = {};
  const auto term = [&](std::int64_t at) {
    const float log_t = teacher.logits[at] - teacher.greatest - teacher.log_sum,
                log_s = student.logits[at] - student.greatest - student.log_sum;
    const float p_t = exponential(log_t);
    difference[at] = exponential(log_s) - p_t;
    return p_t * (log_t - log_s);
  };
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) sums[lane] += term(i + static_cast<std::int64_t>(lane));
  }
  float sum = 0;
  for (const auto own : sums) sum += own;
  for (; i < count; ++i) sum += term(i);
  return sum;
}

// The divergence of a token; calls write(first logit, count, p_s - p_t) for all of its logits, some at a time.
template <class Write>
float divergence_of_token(const float* teacher, const float* student, std::int64_t vocabulary, const Write& write) {
  std::array<float, kAtOnce> difference;  // NOLINT(cppcoreguidelines-pro-type-member-init): written before it is read
  const auto t = model_of(teacher, vocabulary), s = model_of(student, vocabulary);
  double sum = 0;
  for (std::int64_t first = 0; first < vocabulary; first += kAtOnce) {
    const auto count = std::min(kAtOnce, vocabulary - first);
    sum += static_cast<double>(divergence_of(t.from(first), s.from(first), count, difference.data()));
    write(first, count, difference.data());
  }
  return static_cast<float>(sum);
}

NORMTWEAK_TARGET_CLONES void store(const float* values, std::int64_t count, at::BFloat16* stored) {
  for (std::int64_t i = 0; i < count; ++i) stored[i] = values[i];
}

void store(const float* values, std::int64_t count, float* stored) { std::copy_n(values, count, stored); }

bool fits(const at::Tensor& logits) {
  const auto type = logits.scalar_type();
  return logits.is_cpu() && (type == at::kFloat || type == at::kBFloat16) && logits.dim() == 2 &&
         logits.is_contiguous();
}

// Of f32 logits. Number: of the gradient, which is null if it is not wanted.
template <class Number>
void loss_of_tokens(const at::Tensor& teacher, const at::Tensor& student, const at::Tensor& divergence,
                    Number* gradient) {
  const auto tokens = teacher.size(0), vocabulary = teacher.size(1);
  const auto *t = teacher.const_data_ptr<float>(), *s = student.const_data_ptr<float>();
  auto* sums = divergence.mutable_data_ptr<float>();
  at::parallel_for(0, tokens, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t token = begin; token < end; ++token) {
      const auto row = token * vocabulary;
      const auto write = [&](std::int64_t first, std::int64_t count, const float* difference) {
        if (gradient != nullptr) store(difference, count, gradient + row + first);
      };
      sums[token] = divergence_of_token(t + row, s + row, vocabulary, write);
    }
  });
}

}  // namespace

bool has_loss_loop(const at::Tensor& teacher, const at::Tensor& student, at::ScalarType type) {
  return fits(teacher) && fits(student) && teacher.sizes() == student.sizes() &&
         (type == at::kFloat || type == at::kBFloat16);
}

void loss_on_cpu(const at::Tensor& teacher, const at::Tensor& student, const at::Tensor& divergence,
                 const at::Tensor& gradient) {
  const auto of_teacher = teacher.to(at::kFloat), of_student = student.to(at::kFloat);
  if (!gradient.defined() || gradient.scalar_type() == at::kFloat) {
    return loss_of_tokens(of_teacher, of_student, divergence,
                          gradient.defined() ? gradient.mutable_data_ptr<float>() : nullptr);
  }
  loss_of_tokens(of_teacher, of_student, divergence, gradient.mutable_data_ptr<at::BFloat16>());
}

}  // namespace normtweak::tweak
