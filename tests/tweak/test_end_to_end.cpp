// Both tweaks, from beginning to end on tiny models.
#include <ATen/TensorOperators.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "normtweak/base/error.h"
#include "normtweak/evaluate/scores.h"
#include "normtweak/model/forward_pass.h"
#include "normtweak/tweak/end_to_end.h"
#include "normtweak/tweak/layerwise.h"
#include "normtweak/tweak/objectives.h"
#include "support/explicit_model.h"
#include "support/temporary_folder.h"
#include "support/tiny_decoder.h"

namespace normtweak::tweak {
namespace {

using tests::tiny_decoder, tests::Weights;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN(), kInfinity = std::numeric_limits<double>::infinity();

struct Problem {
  model::Decoder teacher, student;
  TextSplit text;
};

Problem make_problem(bool llama, Weights weights, bool masked = false) {
  Problem problem;
  problem.teacher = tiny_decoder({.llama = llama, .biases = true});
  problem.student = tests::quantized(problem.teacher, weights);
  const auto ids = tests::random_ids(problem.teacher, 24, 16);
  at::Tensor mask;
  if (masked) {
    mask = at::ones(ids.sizes(), at::kBool);
    for (std::int64_t row = 0; row < 24; row += 2) mask[row].slice(0, 5 + row / 4).fill_(false);
  }
  problem.text = split_text({.ids = ids, .mask = mask, .provenance = {}});
  return problem;
}

double selection_divergence(const Problem& problem, const model::Decoder& student) {
  return evaluate::score(student, &problem.teacher, problem.text.select, {}, silent_progress()).divergence.mean();
}

// Every float of the model, to see whether anything differs.
std::vector<at::Tensor> floats_of(const model::Decoder& decoder) {
  std::vector<at::Tensor> all = {decoder.final_norm.weight};
  for (int i = 0; i < decoder.blocks.size(); ++i) {
    const auto block = decoder.blocks.get(i);
    all.insert(all.end(),
               {find(*block, model::NormRole::attention)->weight, find(*block, model::NormRole::mlp)->weight});
    for (const auto& [role, expert, linear] : block->linears) {
      all.push_back(weights::dequantize(linear.weight));
      if (linear.bias.defined()) all.push_back(linear.bias);
    }
  }
  return all;
}
bool same(const model::Decoder& a, const model::Decoder& b) {
  return std::ranges::equal(floats_of(a), floats_of(b), [](const auto& x, const auto& y) { return x.equal(y); });
}

TEST(EndToEnd, WinsBackAPartOfWhatWasLost) {
  for (const bool llama : {true, false}) {
    for (const auto weights : {Weights::groups, Weights::codebook, Weights::codebooks_of_groups}) {
      for (const bool masked : {false, true}) {
        const auto problem = make_problem(llama, weights, masked);
        EndToEndOptions options;
        options.passes = 6;
        options.checks = 2;  // too few to stop early
        options.batch_rows = 8;
        options.norm_rate = options.scale_rate = 1e-2;
        const auto result =
            tweak_end_to_end(problem.teacher, problem.student, problem.text, options, silent_progress());
        EXPECT_TRUE(result.stopped_early.empty()) << result.stopped_early;
        EXPECT_NE(result.chosen, "untouched");
        EXPECT_EQ(result.steps, 6 * ((problem.text.train.samples() + 7) / 8));
        EXPECT_EQ(result.planned_steps, result.steps);
        EXPECT_EQ(result.tokens, 6 * problem.text.train.ids.numel());
        // What is said of the candidates is what evaluate/ measures.
        const double before = selection_divergence(problem, problem.student),
                     after = selection_divergence(problem, result.decoder);
        EXPECT_NEAR(result.candidates.front().divergence, before, 1e-5 * before);
        EXPECT_LT(after, 0.95 * before);
        double least = kInfinity;
        for (const auto& candidate : result.candidates) least = std::min(least, candidate.divergence);
        EXPECT_NEAR(least, after, 1e-5 * before);
      }
    }
  }
}

struct AbsurdCase {
  const char* name;
  double norm_rate, scale_rate;
};

TEST(EndToEnd, IsNeverWorseThanUntouched) {
  const AbsurdCase cases[] = {
      {"norms far too fast", 1e3, 1e-3},         {"scales far too fast", 1e-3, 1e3},
      {"everything far too fast", 1e3, 1e3},     {"to the edge of F32", 1e38, 1e38},
      {"infinitely fast", kInfinity, kInfinity}, {"no number", kNan, kNan},
  };
  for (const auto& row : cases) {
    for (const std::int64_t batch_rows : {4, 100}) {  // 100: one step, after which no loss is seen any more
      SCOPED_TRACE(fmt::format("{}, {} rows", row.name, batch_rows));
      const auto problem = make_problem(true, Weights::groups);
      EndToEndOptions options;
      options.norm_rate = row.norm_rate;
      options.scale_rate = row.scale_rate;
      options.batch_rows = batch_rows;
      options.passes = batch_rows == 100 ? 1 : 2;
      options.groups = parse_groups("norms,biases,scales,zeros");
      const auto result = tweak_end_to_end(problem.teacher, problem.student, problem.text, options, silent_progress());
      const double before = selection_divergence(problem, problem.student),
                   after = selection_divergence(problem, result.decoder);
      EXPECT_LE(after, before * (1 + 1e-6)) << result.chosen;
      EXPECT_TRUE(result.chosen != "untouched" || same(result.decoder, problem.student));
    }
  }
}

TEST(EndToEnd, StopsAtALossThatIsNotFinite) {
  auto problem = make_problem(true, Weights::groups);
  problem.teacher.final_norm.weight = at::ones({16}) * kNan;
  const auto result = tweak_end_to_end(problem.teacher, problem.student, problem.text, {}, silent_progress());
  EXPECT_EQ(result.steps, 1);
  EXPECT_NE(result.stopped_early.find("step 1"), std::string::npos) << result.stopped_early;
  EXPECT_EQ(result.chosen, "untouched");
  EXPECT_TRUE(same(result.decoder, problem.student));
}

// What the attention norm gives is so large, and the scales that read it so small, that only a gradient overflows.
model::Decoder with_overflow_on_the_way_back(const model::Decoder& decoder) {
  return tests::with_block(decoder, 1, [](model::Block& block) {
    find(block, model::NormRole::attention)->weight = find(block, model::NormRole::attention)->weight * 1e36;
    for (auto& part : block.linears) {
      if (part.place().kind != model::PlaceKind::attention) continue;
      auto& weight = std::get<weights::AffineWeight>(part.linear.weight);
      weight.scales = at::full_like(weight.scales, 1e-44);
      weight.zeros = at::full_like(weight.zeros, -1e7);
    }
  });
}

TEST(EndToEnd, StopsAtAGradientThatIsNotFinite) {
  auto problem = make_problem(true, Weights::groups);
  problem.student = with_overflow_on_the_way_back(problem.student);
  const auto result = tweak_end_to_end(problem.teacher, problem.student, problem.text, {}, silent_progress());
  EXPECT_TRUE(std::isfinite(result.candidates.front().divergence));
  EXPECT_EQ(result.steps, 1);
  EXPECT_NE(result.stopped_early.find("a gradient was not finite at step 1"), std::string::npos)
      << result.stopped_early;
  EXPECT_EQ(result.chosen, "untouched");
  EXPECT_TRUE(same(result.decoder, problem.student));
}

TEST(Training, AGradientThatIsNotFiniteMovesNothing) {
  const auto problem = make_problem(true, Weights::groups);
  Student student(problem.student, {TunableGroup::norms, TunableGroup::scales});
  Stage stage(silent_progress(), "float model", 1, "tokens");
  const TeacherStates rows(problem.teacher, problem.text.train, stage);
  Training training(student, rows, {}, {});
  EXPECT_TRUE(training.step().is_sound());
  const auto before = state_of(student).changes;
  auto damaged = student.tunables().all()[3].gradient;
  damaged.flatten()[2] = -kInfinity;  // backward passes add to it
  const auto report = training.step();
  EXPECT_TRUE(std::isfinite(report.divergence));
  EXPECT_FALSE(report.finite_gradients);
  EXPECT_TRUE(
      std::ranges::equal(state_of(student).changes, before, [](const auto& a, const auto& b) { return a.equal(b); }));
  EXPECT_TRUE(training.step().is_sound());
  EXPECT_FALSE(state_of(student).changes[0].equal(before[0]));
}

TEST(EndToEnd, TheSameSeedGivesTheSameBits) {
  const auto problem = make_problem(false, Weights::groups);
  const auto run = [&](std::uint64_t seed) {
    EndToEndOptions options;
    options.seed = seed;
    options.batch_rows = 4;
    return tweak_end_to_end(problem.teacher, problem.student, problem.text, options, silent_progress());
  };
  const auto once = run(5), again = run(5), other = run(6);
  EXPECT_TRUE(same(once.decoder, again.decoder));
  EXPECT_FALSE(same(once.decoder, other.decoder));
  ASSERT_EQ(once.candidates.size(), again.candidates.size());
  for (std::size_t i = 0; i < once.candidates.size(); ++i) {
    EXPECT_EQ(once.candidates[i].divergence, again.candidates[i].divergence);
  }
}

TEST(EndToEnd, MovesOnlyWhatIsAskedFor) {
  const auto problem = make_problem(true, Weights::groups);
  EndToEndOptions options;
  options.groups = {TunableGroup::norms};
  const auto result = tweak_end_to_end(problem.teacher, problem.student, problem.text, options, silent_progress());
  for (int i = 0; i < 2; ++i) {
    const auto a = result.decoder.blocks.get(i), b = problem.student.blocks.get(i);
    EXPECT_FALSE(find(*a, model::NormRole::mlp)->weight.equal(find(*b, model::NormRole::mlp)->weight));
    for (std::size_t j = 0; j < a->linears.size(); ++j) {
      const auto &found = a->linears[j].linear, &before = b->linears[j].linear;
      EXPECT_TRUE(weights::dequantize(found.weight).equal(weights::dequantize(before.weight)));
      EXPECT_TRUE(found.bias.equal(before.bias));
    }
  }
}

struct LayerwiseProblem {
  model::Decoder decoder;
  model::Block block;
  at::Tensor inputs, targets;
};

LayerwiseProblem make_layerwise(bool llama) {
  LayerwiseProblem problem;
  problem.decoder = tiny_decoder({.llama = llama});
  problem.block = *tests::quantized(problem.decoder, Weights::channels).blocks.get(0);
  problem.inputs = at::randn({4, 12, 16});
  problem.targets = forward(*problem.decoder.blocks.get(0), problem.inputs, block_context(problem.decoder));
  return problem;
}

TEST(Layerwise, ReducesEveryLoss) {
  for (const bool llama : {true, false}) {
    for (const auto& objective : objectives()) {
      SCOPED_TRACE(objective.name);
      const auto problem = make_layerwise(llama);
      LayerwiseOptions options;
      options.loss = objective.name;
      options.rate = 1e-3;
      options.passes = 10;
      LayerwiseReport report;
      const auto context = block_context(problem.decoder);
      const auto tweaked =
          tweak_block(problem.block, context, 2, problem.inputs, problem.targets, {}, options, at::kFloat, &report);
      // The reported losses are those of the two blocks: the mean over samples.
      const auto loss_of = [&](const model::Block& block) {
        const auto outputs = forward(block, problem.inputs, context);
        double sum = 0;
        for (int i = 0; i < 4; ++i) sum += objective.loss(outputs[i], problem.targets[i]).item<double>();
        return sum / 4;
      };
      EXPECT_NEAR(report.loss_before, loss_of(problem.block), 1e-4 * report.loss_before);
      EXPECT_NEAR(report.loss_after, loss_of(tweaked), 1e-4 * report.loss_before);
      EXPECT_LT(report.loss_after, 0.99 * report.loss_before);
      EXPECT_TRUE(weights::is_quantized(find(tweaked, model::LinearRole::up)->weight));
      EXPECT_FALSE(find(tweaked, model::NormRole::mlp)->weight.requires_grad());
    }
  }
}

TEST(Layerwise, PaddingDoesNotCount) {
  const auto problem = make_layerwise(true);
  auto mask = at::ones({4, 12}, at::kBool);
  mask.slice(1, 7).fill_(false);
  const auto run = [&](const at::Tensor& inputs, const at::Tensor& targets, const at::Tensor& of) {
    const auto tweaked = tweak_block(problem.block, block_context(problem.decoder), 2, inputs, targets, of,
                                     {.rate = 1e-3}, at::kFloat, nullptr);
    return find(tweaked, model::NormRole::mlp)->weight;
  };
  const auto masked = run(problem.inputs, problem.targets, mask);
  auto other_targets = problem.targets.clone();
  other_targets.slice(1, 7).fill_(100);
  EXPECT_TRUE(masked.equal(run(problem.inputs, other_targets, mask)));
  const auto cut = run(problem.inputs.narrow(1, 0, 7), problem.targets.narrow(1, 0, 7), {});
  EXPECT_LT(tests::relative_error(masked, cut), 1e-5);
}

// One step of Adam is the learning rate in size, whatever the gradient: lr0 (1 + growth i / L).
TEST(Layerwise, LaterBlocksLearnFaster) {
  auto problem = make_layerwise(true);
  for (const int index : {0, 3}) {
    problem.block.index = index;
    LayerwiseOptions options;
    options.rate = 1e-3;
    options.rate_growth = 2;
    options.rows_per_step = 4;
    const auto tweaked = tweak_block(problem.block, block_context(problem.decoder), 4, problem.inputs, problem.targets,
                                     {}, options, at::kFloat, nullptr);
    const auto step =
        (find(tweaked, model::NormRole::mlp)->weight - find(problem.block, model::NormRole::mlp)->weight).abs();
    EXPECT_NEAR(step.median().item<double>(), 1e-3 * (1 + 2.0 * index / 4), 2e-6);
  }
}

TEST(Layerwise, NormsAreWhatAReaderOfTheFileGets) {
  const auto problem = make_layerwise(false);
  const auto tweaked = tweak_block(problem.block, block_context(problem.decoder), 2, problem.inputs, problem.targets,
                                   {}, {.rate = 1e-2}, at::kBFloat16, nullptr);
  for (const auto& values : {find(tweaked, model::NormRole::mlp)->weight, find(tweaked, model::NormRole::mlp)->bias,
                             find(tweaked, model::NormRole::attention)->weight}) {
    EXPECT_TRUE(values.equal(values.to(at::kBFloat16).to(at::kFloat)));
  }
}

TEST(Layerwise, RefusesALossThatIsNotFinite) {
  const auto problem = make_layerwise(true);
  EXPECT_THROW(tweak_block(problem.block, block_context(problem.decoder), 2, problem.inputs, problem.targets * kNan, {},
                           {}, at::kFloat, nullptr),
               Error);
}

// The values' linear makes up for a norm that is far too small; its weight is what the norm's gradient is multiplied
// by.
TEST(Layerwise, RefusesAGradientThatIsNotFinite) {
  auto problem = make_layerwise(true);
  find(problem.block, model::NormRole::attention)->weight =
      find(problem.block, model::NormRole::attention)->weight * 1e-38;
  auto& values = find(problem.block, model::LinearRole::value)->weight;
  values = weights::FloatWeight{weights::dequantize(values) * 1e38};
  const auto tweak = [&] {
    tweak_block(problem.block, block_context(problem.decoder), 2, problem.inputs, problem.targets + 1e4, {},
                {.loss = "mse", .passes = 1, .rows_per_step = 4}, at::kFloat, nullptr);
  };
  EXPECT_EQ(tests::message_of<Error>(tweak), "a gradient of the tweak is not finite");
}

TEST(Layerwise, TweaksTheFinalNormToo) {
  const auto decoder = tiny_decoder();
  const auto inputs = at::randn({4, 12, 16}),
             targets = forward(decoder.final_norm, inputs + 0.1 * at::randn({4, 12, 16}), at::kFloat);
  LayerwiseOptions options;
  options.loss = "mse";
  options.rate = 1e-3;
  options.passes = 10;
  LayerwiseReport report;
  const auto tweaked = tweak_final_norm(decoder.final_norm, 2, inputs, targets, {}, options, at::kFloat, &report);
  EXPECT_FALSE(tweaked.weight.equal(decoder.final_norm.weight));
  EXPECT_LT(report.loss_after, report.loss_before);
}

}  // namespace
}  // namespace normtweak::tweak
