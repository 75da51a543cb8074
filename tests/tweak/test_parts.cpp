// The parts that the tweaks are made of, each against its formula.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "normtweak/base/error.h"
#include "normtweak/tweak/adam.h"
#include "normtweak/tweak/end_to_end.h"
#include "normtweak/tweak/guard.h"
#include "normtweak/tweak/head_loss.h"
#include "normtweak/tweak/objectives.h"
#include "normtweak/tweak/pass_size.h"
#include "normtweak/tweak/tunables.h"
#include "support/devices.h"
#include "support/explicit_model.h"
#include "support/temporary_folder.h"
#include "support/tiny_decoder.h"

namespace normtweak::tweak {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN(), kInfinity = std::numeric_limits<double>::infinity();

struct HeadCase {
  const char* name;
  std::int64_t vocabulary, tokens;
  bool masked;
  bool own_heads = false;  // each model has its own
};
const HeadCase kHeads[] = {
    {"one chunk", 300, 20, false},        {"eights of logits", 304, 20, true},        // which the kernel of a GPU takes
    {"one chunk, masked", 300, 20, true}, {"chunks of 41 tokens", 100000, 30, true},  // 16 MiB of F32 logits
    {"two heads", 300, 20, true, true},   {"two heads, chunks", 100000, 30, false, true},
};

void expect_autograd_over_full_logits(const HeadCase& row, c10::Device device) {
  const auto options = at::TensorOptions(device);
  const auto head = at::randn({row.vocabulary, 8}, options), student = at::randn({2, row.tokens, 8}, options),
             teacher = student + at::randn({2, row.tokens, 8}, options) * 0.3;
  const auto teacher_head = row.own_heads ? head + at::randn(head.sizes(), options) * 0.1 : head;
  at::Tensor mask;
  if (row.masked) {
    mask = at::ones({2, row.tokens}, options.dtype(at::kBool));
    mask[1].slice(0, row.tokens / 2).fill_(false);
  }
  const auto leaf = student.to(at::kDouble).requires_grad_();
  const auto wanted = at::linear(teacher.to(at::kDouble), teacher_head.to(at::kDouble));
  auto expected = tests::explicit_divergence(wanted, at::linear(leaf, head.to(at::kDouble)));
  if (row.masked) expected = expected * mask;
  (expected.sum() * 0.25).backward();

  constexpr std::int64_t workspace = std::int64_t{256} << 20;  // chunks of 16 MiB
  const HeadInput ours = {{.weight = head}, student}, theirs = {{.weight = teacher_head}, teacher};
  const auto loss = head_loss(ours, theirs, mask, true, 0.25, workspace);
  EXPECT_EQ(loss.divergence.scalar_type(), at::kDouble);
  constexpr double tolerance = 1e-4;  // F32 sums over 100000 logits: the same in PyTorch is off by up to 7.5e-5
  EXPECT_LT(tests::relative_error(loss.divergence, expected.sum(-1)), tolerance);
  EXPECT_LT(tests::relative_error(loss.gradient, leaf.grad()), tolerance);
  const auto value_only = head_loss(ours, theirs, mask, false, 1, workspace);
  EXPECT_TRUE(value_only.divergence.equal(loss.divergence));
  EXPECT_FALSE(value_only.gradient.defined());
}

TEST(HeadLoss, EqualsAutogradOverFullLogits) {
  for (const auto& row : kHeads) {
    for (const auto device : test::devices()) {
      SCOPED_TRACE(fmt::format("{} on {}", row.name, device.str()));
      expect_autograd_over_full_logits(row, device);
    }
  }
}

// With heads of 16 bits, whose logits and gradients are rounded as the device has it.
TEST(HeadLoss, IsThatOfTheModelsInSixteenBits) {
  for (const auto device : test::devices()) {
    for (const auto type : {at::kBFloat16, at::kHalf}) {
      SCOPED_TRACE(fmt::format("{} on {}", c10::toString(type), device.str()));
      const auto options = at::TensorOptions(device);
      const auto head = at::randn({3000, 16}, options).to(type), student = at::randn({2, 20, 16}, options).to(type);
      const auto teacher = (student + at::randn(student.sizes(), options) * 0.3).to(type);
      const auto leaf = student.to(at::kDouble).requires_grad_(), weight = head.to(at::kDouble);
      const auto expected =
          tests::explicit_divergence(at::linear(teacher.to(at::kDouble), weight), at::linear(leaf, weight));
      expected.sum().backward();
      const auto loss = head_loss({{.weight = head}, student}, {{.weight = head}, teacher}, {}, true, 1);
      EXPECT_EQ(loss.gradient.scalar_type(), type);
      EXPECT_LT(tests::relative_error(loss.divergence, expected.sum(-1)), 2e-2);
      EXPECT_LT(tests::relative_error(loss.gradient, leaf.grad()), 2e-2);
    }
  }
}

TEST(HeadLoss, RefusesHeadsOfDifferentSizes) {
  const auto hidden = at::randn({1, 4, 8});
  EXPECT_THROW(
      head_loss({{.weight = at::randn({30, 8})}, hidden}, {{.weight = at::randn({31, 8})}, hidden}, {}, true, 1),
      c10::Error);
}

// [tokens, channels] with means and variances that can be seen.
const std::vector<double> kOutput = {1, 2, 3, 6}, kTarget = {2, 4, 8, 4};

TEST(Objectives, FollowTheirFormulas) {
  const auto output = at::tensor(kOutput).view({2, 2}), target = at::tensor(kTarget).view({2, 2});
  // Output: means 2, 4, variances 1, 4. Target: means 5, 4, variances 9, 0.
  const auto loss = [&](const char* name) { return find_objective(name).loss(output, target).item<double>(); };
  EXPECT_NEAR(loss("dist"), ((3 + 8) + (0 + 4)) / 2.0, 1e-12);
  EXPECT_NEAR(loss("relative"), ((3 / (3 + 1e-6) + 8 / (9 + 1e-6)) + (0 + 4 / 1e-6)) / 2, 1e-3);
  EXPECT_NEAR(loss("mse"), (1 + 4 + 25 + 4) / 4.0, 1e-12);
  double divergence = 0;
  for (int t = 0; t < 2; ++t) {  // two channels: a softmax is a logistic function of the difference
    const auto first = [&](const std::vector<double>& x) {
      const auto i = static_cast<std::size_t>(2 * t);
      return 1 / (1 + std::exp(x[i + 1] - x[i]));
    };
    const double p = first(kTarget), q = first(kOutput);
    divergence += (p * std::log(p / q) + (1 - p) * std::log((1 - p) / (1 - q))) / 2;
  }
  EXPECT_NEAR(loss("kl"), divergence, 1e-12);
}

TEST(Objectives, AreZeroAtTheTargetAndTheirGradientsAreDifferences) {
  const auto target = at::randn({7, 5}, at::kDouble), start = at::randn({7, 5}, at::kDouble);
  for (const auto& objective : objectives()) {
    SCOPED_TRACE(objective.name);
    EXPECT_NEAR(objective.loss(target, target).item<double>(), 0, 1e-12);
    const auto leaf = start.clone().requires_grad_();
    objective.loss(leaf, target).backward();
    const auto direction = at::randn({7, 5}, at::kDouble) * 1e-6;
    const double difference =
        (objective.loss(start + direction, target) - objective.loss(start - direction, target)).item<double>() / 2;
    EXPECT_NEAR((leaf.grad() * direction).sum().item<double>(), difference, 1e-11);
  }
  const auto message = tests::message_of<Error>([] { find_objective("cosine"); });
  EXPECT_NE(message.find("dist, relative, mse, kl"), std::string::npos) << message;
}

// Three floats of two groups, whose values are their changes.
std::vector<TunableField> two_norms_and_a_bias() {
  std::vector<TunableField> fields;
  for (const auto group : {TunableGroup::norms, TunableGroup::biases, TunableGroup::norms}) {
    fields.push_back({"x", group, at::zeros({6}), at::kFloat, at::kFloat});
  }
  return fields;
}

TEST(Adam, FollowsTheFormula) {
  const AdamOptions options = {.beta1 = 0.8, .beta2 = 0.9, .epsilon = 1e-6};
  const double rates[] = {0.1, 0.02};  // of the norms, of the bias
  TunableSet set(two_norms_and_a_bias());
  std::vector<at::Tensor> values, first, second;
  for (int i = 0; i < 3; ++i) {
    values.push_back(at::zeros({6}, at::kDouble));
    first.push_back(at::zeros({6}, at::kDouble));
    second.push_back(at::zeros({6}, at::kDouble));
  }
  Adam adam(set, {rates[0], rates[1]}, options);
  for (int step = 1; step <= 5; ++step) {
    const double factor = 1.0 / step;
    for (std::size_t i = 0; i < 3; ++i) {
      const auto gradient = at::randn({6});
      set.all()[i].gradient.add_(gradient);
      const auto exact = gradient.to(at::kDouble);
      first[i] = options.beta1 * first[i] + (1 - options.beta1) * exact;
      second[i] = options.beta2 * second[i] + (1 - options.beta2) * exact * exact;
      const auto m = first[i] / (1 - std::pow(options.beta1, step)),
                 v = second[i] / (1 - std::pow(options.beta2, step));
      values[i] = values[i] - rates[i == 1 ? 1 : 0] * factor * m / (v.sqrt() + options.epsilon);
    }
    adam.step(factor);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_LT(tests::relative_error(set.all()[i].change, values[i]), 1e-6) << step;
      EXPECT_TRUE(set.all()[i].value.detach().equal(set.all()[i].change)) << step;
      EXPECT_EQ(set.all()[i].gradient.abs().max().item<float>(), 0) << step;
    }
  }
}

struct RoundingCase {
  at::ScalarType stored, loaded;
};

TEST(Tunable, ValueIsWhatAReaderGetsAndItsGradientPassesTheRounding) {
  const RoundingCase cases[] = {{at::kFloat, at::kFloat},
                                {at::kBFloat16, at::kBFloat16},
                                {at::kHalf, at::kHalf},
                                {at::kHalf, at::kBFloat16},
                                {at::kFloat, at::kHalf}};
  const auto start = at::rand({10, 10}) + 0.5, shift = at::randn({10, 10}) * 0.1;
  for (const auto& row : cases) {
    TunableSet set({{"x", TunableGroup::scales, start, row.stored, row.loaded}});
    const auto& tunable = set.all()[0];
    tunable.change.copy_(shift);
    set.refresh();
    const auto expected = (start + start * shift).to(row.stored).to(row.loaded).to(at::kFloat);
    const auto value = tunable.value.detach();
    EXPECT_TRUE(value.equal(value.to(row.stored).to(row.loaded).to(at::kFloat)));
    // A fused product and sum may round the other way where the exact value is half a step from both.
    EXPECT_LT((value != expected).sum().item<std::int64_t>(), row.stored == at::kFloat ? 100 : 3);
    EXPECT_TRUE(value.allclose(expected, 1.0 / 128, 0));
    const auto direction = at::randn({10, 10});
    for (int pass = 0; pass < 2; ++pass) (tunable.value * direction).sum().backward();  // gradients add up
    set.finish_gradients();
    EXPECT_LT(tests::relative_error(tunable.gradient, 2 * direction * start), 1e-6);
    set.clear_gradients();
    EXPECT_EQ(tunable.value.grad().abs().max().item<float>(), 0);
  }
}

TEST(Tunable, UnitsAreThoseOfItsGroup) {
  const auto start = at::randn({4, 8});
  const auto unit = [&](TunableGroup group) {
    return TunableSet({{"x", group, start, at::kFloat, at::kFloat}}).all()[0].unit;
  };
  EXPECT_TRUE(unit(TunableGroup::norms).equal(at::ones({4, 8})));
  EXPECT_TRUE(unit(TunableGroup::zeros).equal(at::ones({4, 8})));
  EXPECT_TRUE(unit(TunableGroup::scales).equal(start));
  EXPECT_TRUE(unit(TunableGroup::codebooks).allclose((start * start).sum(1, true).div(8).sqrt().expand({4, 8})));
}

TEST(TunableFields, ListsWhatIsAskedForAndChangesNothingAtFirst) {
  auto block = *tests::quantized(tests::tiny_decoder({.biases = true}), tests::Weights::groups).blocks.get(1);
  find(block, model::LinearRole::up)->weight =
      tests::quantized(weights::dequantize(find(block, model::LinearRole::up)->weight), tests::Weights::codebook);
  std::get<weights::AffineWeight>(find(block, model::LinearRole::down)->weight).float_zeros = false;
  const std::set<TunableGroup> groups = {TunableGroup::norms, TunableGroup::biases, TunableGroup::scales,
                                         TunableGroup::zeros, TunableGroup::codebooks};
  const TunableSet set(tunable_fields(block, groups, at::kFloat));
  std::map<std::string, TunableGroup> found;
  for (const auto& tunable : set.all()) found[tunable.name] = tunable.group;
  EXPECT_EQ(found.size(), set.all().size());
  EXPECT_EQ(found.size(), 2U + 7 + 6 + 5 + 1);  // norms, biases, scales, zeros but those of `down`, one codebook
  EXPECT_EQ(found.at("blocks.1.q.zeros"), TunableGroup::zeros);
  EXPECT_EQ(found.at("blocks.1.up.codebook"), TunableGroup::codebooks);
  EXPECT_EQ(found.at("blocks.1.o.bias"), TunableGroup::biases);
  EXPECT_FALSE(found.contains("blocks.1.down.zeros"));
  const auto same = with_values(block, groups, set, 0, false);
  EXPECT_TRUE(find(same, model::NormRole::mlp)->weight.equal(find(block, model::NormRole::mlp)->weight));
  EXPECT_TRUE(weights::dequantize(find(same, model::LinearRole::up)->weight)
                  .equal(weights::dequantize(find(block, model::LinearRole::up)->weight)));
  EXPECT_TRUE(weights::dequantize(find(same, model::LinearRole::down)->weight)
                  .equal(weights::dequantize(find(block, model::LinearRole::down)->weight)));
  EXPECT_EQ(tunable_fields(block, {TunableGroup::zeros}, at::kFloat).size(), 5U);
}

TEST(ParseGroups, ReadsTheCommandLinesSpelling) {
  using G = TunableGroup;
  EXPECT_EQ(parse_groups("norms"), (std::set<G>{G::norms}));
  EXPECT_EQ(parse_groups("norms,scales"), (std::set<G>{G::norms, G::scales, G::codebooks}));
  EXPECT_EQ(parse_groups("zeros,biases,codebooks"), (std::set<G>{G::zeros, G::biases, G::codebooks}));
  for (const char* bad : {"", ",", "norms,,scales", "norm", "norms, scales", "weights"}) {
    const auto message = tests::message_of<Error>([&] { parse_groups(bad); });
    EXPECT_NE(message.find("norms, biases, scales, zeros, codebooks"), std::string::npos) << bad;
  }
}

struct JudgeCase {
  const char* name;
  std::vector<double> untouched, tweaked;
  bool accepted;
  double gain, error;
  const char* reason;  // a part of it
};

const JudgeCase kUnconfirmed = {"a gain that more rows would confirm",
                                {1, 1, 1, 1, 1, 1},
                                {0.9, 0.8, 0.7, 1.1, 1, 0.8},
                                false,
                                0.7 / 6,
                                std::sqrt((0.19 - 0.49 / 6) / 30),
                                "about 8 held-out rows, from a text of 64, would likely confirm such a gain"};

TEST(Judge, AcceptsAGainOfMoreThanTwoStandardErrors) {
  const JudgeCase cases[] = {
      {"a gain in every row",
       {1, 2, 3, 4},
       {0.9, 1.8, 2.9, 3.8},
       true,
       0.15,
       0.1 / std::sqrt(12.0),
       "fell by 0.1500 ± 0.0289 nats per token over 4 rows"},
      {"nothing", {1, 2, 3}, {1, 2, 3}, false, 0, 0, "did not change over 3 rows, so the untouched state is kept"},
      {"a loss in every row",
       {1, 2},
       {1.1, 2.2},
       false,
       -0.15,
       0.05,
       "rose by 0.1500 ± 0.0500 nats per token over 2 rows, so the untouched state is kept"},
      {"a loss that four decimals do not show",
       {1, 1},
       {1.000002, 1.000004},
       false,
       -3e-6,
       1e-6,
       "rose by 3e-06 ± 1e-06 nats per token over 2 rows"},
      {"a gain in one row alone",
       {1, 1, 1, 1},
       {1, 1, 1, 0},
       false,
       0.25,
       0.25,
       "over 4 rows, less than two standard errors, so the untouched state is kept; about 17 held-out rows would "
       "likely confirm such a gain, and there are at most 16: longer rows help"},
      {"a gain outweighed by noise",
       {1, 2, 3, 4},
       {0.4, 2.3, 2.4, 4.2},
       false,
       0.175,
       std::sqrt(0.7275 / 12),
       "about 33 held-out rows"},
      kUnconfirmed,
      {"a tweaked state that is no number",
       {1, 2},
       {0.5, kNan},
       false,
       kNan,
       kNan,
       "was not finite over 2 rows, so the untouched state is kept"},
      {"a tweaked state that is infinite",
       {1, 2},
       {0.5, kInfinity},
       false,
       -kInfinity,
       kNan,
       "was not finite over 2 rows"},
  };
  for (const auto& row : cases) {
    SCOPED_TRACE(row.name);
    const auto verdict = judge(row.untouched, row.tweaked);
    EXPECT_EQ(verdict.accepted, row.accepted) << verdict.gain_error;
    if (std::isfinite(row.gain)) {
      EXPECT_NEAR(verdict.gain, row.gain, 1e-9);
      EXPECT_NEAR(verdict.gain_error, row.error, 1e-4);
    }
    EXPECT_NE(verdict.reason.find(row.reason), std::string::npos) << verdict.reason;
    EXPECT_LT(verdict.reason.size(), 300U);
  }
  EXPECT_THROW(judge({1}, {0.5}), Error);
  EXPECT_THROW(judge({1, 2}, {1, 2, 3}), Error);
}

// A state that lost on the rows that choose is never accepted, and its reason says what would help.
TEST(Judge, ReportsTheBestThatWasNotChosen) {
  const JudgeCase cases[] = {
      {"a loss", {1, 2}, {1.1, 2.2}, false, -0.15, 0.05, "a text of more rows has more to learn from"},
      {"a gain in every row", {1, 2}, {0.9, 1.8}, false, 0.15, 0.05, "a text of more rows has more to learn from"},
      kUnconfirmed,
      {"no number", {1, 2}, {0.5, kNan}, false, kNan, kNan, "was not finite over 2 rows"},
  };
  for (const auto& row : cases) {
    SCOPED_TRACE(row.name);
    const auto verdict = judge_unchosen(row.untouched, row.tweaked, "0.6 of the way", 1);
    EXPECT_FALSE(verdict.accepted);
    if (std::isfinite(row.gain)) {
      EXPECT_NEAR(verdict.gain, row.gain, 1e-9);
      EXPECT_NEAR(verdict.gain_error, row.error, 1e-4);
    }
    EXPECT_TRUE(verdict.reason.starts_with(kNoneBetter)) << verdict.reason;
    EXPECT_NE(verdict.reason.find("over 1 row; with the best of them (0.6 of the way)"), std::string::npos);
    EXPECT_NE(verdict.reason.find(row.reason), std::string::npos) << verdict.reason;
    EXPECT_LT(verdict.reason.size(), 300U);
  }
}

TEST(SplitText, SharesAreDisjointAndTogetherEverything) {
  for (const std::int64_t samples : {4, 5, 8, 16, 33, 128, 1000}) {
    const auto ids = at::rand({samples, 3});
    const auto mask = ids > 0.2;
    const auto split = split_text({.ids = ids, .mask = mask, .provenance = {}});
    EXPECT_TRUE(at::cat({split.train.ids, split.select.ids, split.confirm.ids}).equal(ids));
    EXPECT_TRUE(at::cat({split.train.mask, split.select.mask, split.confirm.mask}).equal(mask));
    EXPECT_GE(split.confirm.samples(), 2);  // a standard error needs two
    EXPECT_GE(split.select.samples(), 1);
    EXPECT_GE(split.train.samples(), samples / 4);
    EXPECT_LE(split.select.samples() + split.confirm.samples(), std::max<std::int64_t>(3, samples / 5));
  }
  EXPECT_THROW(split_text({.ids = at::rand({3, 3}), .mask = {}, .provenance = {}}), Error);
}

TEST(PassSize, SharesTheRowsOfABatchOutEvenly) {
  const auto decoder = tests::tiny_decoder();
  std::set<std::int64_t> seen;
  bool kept = false, computed_again = false;
  for (std::int64_t bytes = 1 << 10; bytes < 1 << 24; bytes += bytes / 8) {
    const auto pass = pass_size(decoder, 16, 8, bytes);
    const auto passes = (8 + pass.rows - 1) / pass.rows;
    EXPECT_EQ(pass.rows, (8 + passes - 1) / passes) << bytes;  // 4 and 4, not 5 and 3
    seen.insert(pass.rows);
    (pass.keep_activations ? kept : computed_again) = true;
  }
  EXPECT_EQ(seen, (std::set<std::int64_t>{1, 2, 3, 4, 8}));
  EXPECT_TRUE(kept && computed_again);
}

}  // namespace
}  // namespace normtweak::tweak
