// The closed form against least squares over an explicit design matrix in F64: a row for each token and output channel,
// and a row for each pull toward the present value.
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/diag.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_lstsq.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "normtweak/base/error.h"
#include "normtweak/tweak/ridge.h"
#include "support/explicit_model.h"
#include "support/temporary_folder.h"
#include "support/tiny_decoder.h"

namespace normtweak::tweak {
namespace {

using tests::relative_error;

constexpr std::int64_t kChannels = 12, kTokens = 40;

struct RidgeCase {
  const char* name;
  bool layer_norm, float_stream;
  tests::Weights weights;
  bool bias_moved = false;  // of the linears: as after a tweak of biases
};
const RidgeCase kCases[] = {
    {"rms", false, false, tests::Weights::channels},
    {"rms, float stream", false, true, tests::Weights::channels},
    {"rms, codebook, biases moved", false, true, tests::Weights::codebook, true},
    {"layer", true, false, tests::Weights::channels},
    {"layer, float stream", true, true, tests::Weights::codebook},
    {"layer, biases moved", true, false, tests::Weights::channels, true},
};

// A norm with two linears behind it, as they are and as the float model has them, and hidden states before it.
struct Setting {
  model::Norm norm, float_norm;
  model::Linear present[2], floats[2];
  at::Tensor hidden, float_hidden;

  explicit Setting(const RidgeCase& wanted) {
    at::manual_seed(7);
    const auto make_norm = [&] {
      return model::Norm{.name = "blocks.0.norm",
                         .kind = wanted.layer_norm ? model::NormKind::layer : model::NormKind::rms,
                         .epsilon = 1e-5,
                         .weight = 1 + at::randn({kChannels}) * 0.2,
                         .bias = wanted.layer_norm ? at::randn({kChannels}) * 0.1 : at::Tensor()};
    };
    float_norm = make_norm();
    norm = make_norm();  // another one: a tweak may come after a tweak
    for (int i = 0; i < 2; ++i) {
      floats[i] = {.name = "linear",
                   .weight = weights::FloatWeight{at::randn({5 + 3 * i, kChannels})},
                   .bias = at::randn({5 + 3 * i})};
      present[i] = floats[i];
      present[i].weight = tests::quantized(weights::dequantize(floats[i].weight), wanted.weights);
      if (wanted.bias_moved) present[i].bias = present[i].bias + 0.3;
    }
    hidden = at::randn({2, kTokens / 2, kChannels}) * (1 + at::randn({kChannels}).abs());
    if (wanted.float_stream) float_hidden = hidden + 0.3 * at::randn(hidden.sizes());
  }

  std::vector<ReadingLinear> readers() const { return {{&present[0], &floats[0]}, {&present[1], &floats[1]}}; }

  RidgeMoments::Means means(const at::Tensor& mask = {}) const {
    RidgeMoments moments(kChannels, float_hidden.defined(), at::kCPU);
    for (std::int64_t row = 0; row < hidden.size(0); ++row) {
      const auto part = [&](const at::Tensor& all) { return all.defined() ? all.narrow(0, row, 1) : all; };
      moments.add(normalised(norm, part(hidden)),
                  float_hidden.defined() ? normalised(float_norm, part(float_hidden)) : at::Tensor(), part(mask));
    }
    return moments.means();
  }

  model::Norm solve(double lambda, RidgeReport* report = nullptr, at::ScalarType stored = at::kFloat) const {
    return ridge_norm(norm, float_norm, readers(), means(), lambda, stored, report);
  }
};

// f64 [tokens, C]
at::Tensor explicit_normalised(const model::Norm& norm, const at::Tensor& hidden) {
  auto x = hidden.to(at::kDouble).flatten(0, 1);
  if (norm.kind == model::NormKind::layer) x = x - x.mean(-1, true);
  return x / (x.square().mean(-1, true) + norm.epsilon).sqrt();
}

// The norm's output through both linears, f64 [tokens, out].
at::Tensor outputs(const model::Linear (&linears)[2], const model::Norm& norm, const at::Tensor& n) {
  auto x = n * norm.weight.to(at::kDouble);
  if (norm.bias.defined()) x = x + norm.bias.to(at::kDouble);
  std::vector<at::Tensor> all;
  for (const auto& linear : linears) {
    all.push_back(at::matmul(x, tests::explicit_weight(linear.weight).t()) + linear.bias.to(at::kDouble));
  }
  return at::cat(all, 1);
}

at::Tensor float_outputs(const Setting& setting) {
  const auto& at = setting.float_hidden.defined() ? setting.float_hidden : setting.hidden;
  return outputs(setting.floats, setting.float_norm, explicit_normalised(setting.float_norm, at));
}

double explicit_error(const Setting& setting, const model::Norm& norm) {
  const auto n = explicit_normalised(norm, setting.hidden);
  const auto wanted = float_outputs(setting);
  return ((outputs(setting.present, norm, n) - wanted).square().sum() / wanted.square().sum()).item<double>();
}

// The weight, and the bias behind it where there is one.
at::Tensor explicit_solution(const Setting& setting, double lambda) {
  const auto n = explicit_normalised(setting.norm, setting.hidden);
  const auto weight =
      at::cat({tests::explicit_weight(setting.present[0].weight), tests::explicit_weight(setting.present[1].weight)});
  const auto of_weight = (weight.unsqueeze(0) * n.unsqueeze(1)).flatten(0, 1);  // [tokens * out, C]
  const auto of_bias = weight.repeat({kTokens, 1});
  const auto pull = [&](const at::Tensor& design) {
    const double mean_diagonal = design.square().sum().item<double>() / static_cast<double>(kTokens * kChannels);
    return at::full({kChannels}, std::sqrt(lambda * mean_diagonal * kTokens), design.options());
  };
  auto design = of_weight, pulls = pull(of_weight), present = setting.norm.weight.to(at::kDouble);
  if (setting.norm.bias.defined()) {
    design = at::cat({design, of_bias}, 1);
    pulls = at::cat({pulls, pull(of_bias)});
    present = at::cat({present, setting.norm.bias.to(at::kDouble)});
  }
  const auto biases = at::cat({setting.present[0].bias, setting.present[1].bias}).to(at::kDouble);
  const auto wanted = (float_outputs(setting) - biases).flatten();
  const auto rows = at::cat({design, at::diag(pulls)});
  const auto right = at::cat({wanted, pulls * present});
  return std::get<0>(at::linalg_lstsq(rows, right.unsqueeze(1))).squeeze(1);
}

at::Tensor floats_of(const model::Norm& norm) {
  return norm.bias.defined() ? at::cat({norm.weight, norm.bias}) : norm.weight;
}

class Ridge : public testing::TestWithParam<RidgeCase> {};

TEST_P(Ridge, IsTheLeastSquaresSolution) {
  const Setting setting(GetParam());
  for (const double lambda : {1e-3, 0.1, 3.0}) {
    const auto found = floats_of(setting.solve(lambda)), expected = explicit_solution(setting, lambda);
    EXPECT_LT(relative_error(found, expected), 1e-4) << "lambda " << lambda;  // sums are F32
    EXPECT_GT(relative_error(floats_of(setting.norm), expected), 1e-2);       // which is not where it began
  }
}

TEST_P(Ridge, ReportsTheErrorWhichFalls) {
  const Setting setting(GetParam());
  double last = 0;
  for (const double lambda : {1e-3, 0.1, 3.0}) {
    RidgeReport report;
    const auto solved = setting.solve(lambda, &report);
    EXPECT_EQ(report.norm, setting.norm.name);
    EXPECT_NEAR(report.error_before, explicit_error(setting, setting.norm), 1e-5);
    EXPECT_NEAR(report.error_after, explicit_error(setting, solved), 1e-5);
    EXPECT_LT(report.error_after, report.error_before);
    EXPECT_GT(report.error_after, last);  // the weaker the pull, the smaller the error
    last = report.error_after;
  }
}

TEST_P(Ridge, StaysWhereThePullIsStrong) {
  const Setting setting(GetParam());
  EXPECT_LT(relative_error(floats_of(setting.solve(1e9)), floats_of(setting.norm)), 1e-6);
}

TEST_P(Ridge, RoundsToTheStoredType) {
  const Setting setting(GetParam());
  const auto exact = floats_of(setting.solve(0.1)), stored = floats_of(setting.solve(0.1, nullptr, at::kBFloat16));
  EXPECT_TRUE(stored.equal(exact.to(at::kBFloat16).to(at::kFloat)));
  EXPECT_EQ(stored.scalar_type(), at::kFloat);
}

TEST_P(Ridge, LeavesPaddingOut) {
  const Setting setting(GetParam());
  auto padded = setting;
  const auto mask = at::ones({2, kTokens / 2}, at::kBool);
  mask.narrow(1, 15, 5).fill_(false);
  padded.hidden = setting.hidden.clone();
  padded.hidden.narrow(1, 15, 5).fill_(std::numeric_limits<float>::quiet_NaN());
  auto shorter = setting;
  shorter.hidden = setting.hidden.narrow(1, 0, 15);
  if (setting.float_hidden.defined()) shorter.float_hidden = setting.float_hidden.narrow(1, 0, 15);
  const auto solve = [&](const RidgeMoments::Means& means) {
    return floats_of(ridge_norm(setting.norm, setting.float_norm, setting.readers(), means, 0.1, at::kFloat, nullptr));
  };
  EXPECT_LT(relative_error(solve(padded.means(mask)), solve(shorter.means())), 1e-5);
  EXPECT_GT(relative_error(solve(setting.means()), solve(shorter.means())), 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Cases, Ridge, testing::ValuesIn(kCases), [](const auto& instance) {
  std::string name = instance.param.name;
  std::erase_if(name, [](char c) { return c == ' ' || c == ','; });
  return name;
});

TEST(RidgeNorm, FloatWeightsLeaveTheNormAsItIs) {
  for (const bool layer_norm : {false, true}) {
    Setting setting({"", layer_norm, false, tests::Weights::floats});
    setting.norm = setting.float_norm;
    RidgeReport report;
    const auto solved = setting.solve(1e-6, &report);
    EXPECT_TRUE(floats_of(solved).equal(floats_of(setting.float_norm)));
    EXPECT_EQ(report.error_before, 0);
    EXPECT_EQ(report.error_after, 0);
  }
}

// The solution is less than half a bf16 step away from the present norm, or the step overshoots.
TEST(RidgeNorm, StaysWhereRoundingWouldCostMore) {
  Setting setting({"", false, false, tests::Weights::floats});
  setting.float_norm.weight = at::full({kChannels}, 1.0);
  setting.norm = setting.float_norm;
  setting.norm.weight = setting.float_norm.weight + 1e-3;  // no bf16 number; 1 is nearer to it than 1 + 2^-7
  setting.float_norm.weight = setting.float_norm.weight + 2e-3;
  RidgeReport report;
  EXPECT_TRUE(setting.solve(1e-3, &report, at::kBFloat16).weight.equal(setting.norm.weight));
  EXPECT_EQ(report.error_after, report.error_before);
  EXPECT_FALSE(setting.solve(1e-3, &report).weight.equal(setting.norm.weight));
}

TEST(RidgeNorm, NamesTheNormThatCannotBeSolved) {
  Setting setting({"", false, false, tests::Weights::channels});
  setting.hidden.fill_(0);
  const auto message = tests::message_of<Error>([&] { setting.solve(0.1); });
  EXPECT_TRUE(message.starts_with("blocks.0.norm: ")) << message;
  setting.hidden.fill_(std::numeric_limits<float>::infinity());
  EXPECT_TRUE(tests::message_of<Error>([&] { setting.solve(0.1); }).starts_with("blocks.0.norm: "));
}

}  // namespace
}  // namespace normtweak::tweak
