#include "normtweak/model/gguf_rotary.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>
#include <vector>

#include "normtweak/base/device/type_name.h"
#include "normtweak/base/error.h"
#include "normtweak/model/gguf_places.h"
#include "normtweak/model/rotary.h"

namespace normtweak::model {
namespace {

// The rule keeps a frequency that makes at least `high` turns in the original context, divides one that makes at most
// `low` turns by the factor, and interpolates linearly in between. All models use these two values; other values with
// the same ratio would give the same factors with another original context.
constexpr double kLow = 1, kHigh = 4;
constexpr double kUsualContext = 8192;  // of Llama 3.1 and 3.2
constexpr double kTolerance = 4e-3;     // the file has F32, which some converters rounded to BF16 first

struct Factors {
  std::span<const float> divisors;
  double base, factor;

  // In radians per token.
  double frequency(std::size_t i) const {
    return std::pow(base, -static_cast<double>(i) / static_cast<double>(divisors.size()));
  }
  double context_of(double turns, std::size_t i) const { return turns * 2 * std::numbers::pi / frequency(i); }

  bool follow(double context) const {
    for (std::size_t i = 0; i < divisors.size(); ++i) {
      const double turns = context * frequency(i) / (2 * std::numbers::pi);
      const double share = std::clamp((turns - kLow) / (kHigh - kLow), 0.0, 1.0);
      const double expected = 1 / (share + (1 - share) / factor);
      const bool follows = std::abs(expected - divisors[i]) <= kTolerance * expected;  // false for NaN
      if (!follows) return false;
    }
    return true;
  }

  // The original context that follows from the frequency nearest to the middle of the interpolated range; if there is
  // none in that range, the shortest one for which all undivided frequencies stay undivided.
  double fitting_context() const {
    double context = 1, nearest = 0.5;
    for (std::size_t i = 0; i < divisors.size(); ++i) {
      const double share = (1 / divisors[i] - 1 / factor) / (1 - 1 / factor);
      const bool whole = share >= 1 - kTolerance, divided = share <= kTolerance;
      if (whole && nearest == 0.5) context = std::max(context, context_of(kHigh, i));
      if (whole || divided || std::abs(share - 0.5) >= nearest) continue;
      nearest = std::abs(share - 0.5);
      context = context_of(kLow + share * (kHigh - kLow), i);
    }
    return nearest == 0.5 ? std::ceil(context) : std::round(context);
  }
};

}  // namespace

Json rotary_scaling_from_factors(const at::Tensor& factors, double base, std::int64_t head_size,
                                 const std::string& origin) {
  if (factors.scalar_type() != at::kFloat || factors.dim() != 1 || factors.numel() != head_size / 2) {
    fail("{}: tensor rope_freqs.weight: {} numbers in F32 expected, the file has {} {}", origin, head_size / 2,
         type_name(factors.scalar_type()), c10::str(factors.sizes()));
  }
  const Factors given = {.divisors = {factors.const_data_ptr<float>(), static_cast<std::size_t>(factors.numel())},
                         .base = base,
                         .factor = factors.max().item<double>()};
  const double context = given.follow(kUsualContext) ? kUsualContext : given.fitting_context();
  if (!given.follow(context)) {
    fail("{}: tensor rope_freqs.weight does not follow the llama3 rule of rotary scaling, no other is supported",
         origin);
  }
  return {{"rope_type", "llama3"},
          {"factor", given.factor},
          {"low_freq_factor", kLow},
          {"high_freq_factor", kHigh},
          {"original_max_position_embeddings", context}};
}

formats::NamedTensors rotary_factor_tensors(const Rotary& rotary) {
  const auto& scaling = rotary.scaling;
  const auto list = [](const std::vector<double>& factors) {
    return at::tensor(factors, at::TensorOptions(at::kDouble)).to(at::kFloat);
  };
  if (scaling.kind == RotaryScaling::Kind::longrope) {
    return {{std::string(kLongFactors), list(scaling.long_factors)},
            {std::string(kShortFactors), list(scaling.short_factors)}};
  }
  if (scaling.kind != RotaryScaling::Kind::llama3) return {};
  auto plain = rotary;
  plain.scaling = {};
  const auto length = static_cast<std::int64_t>(scaling.original_context);  // no matter which
  return {{std::string(kRotaryFactors), rotary_frequencies(plain, length) / rotary_frequencies(rotary, length)}};
}

}  // namespace normtweak::model
