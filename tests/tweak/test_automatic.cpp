// What the end-to-end tweak decides by itself: rate, batch, number of steps, and when to stop.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <csignal>
#include <functional>
#include <limits>
#include <numbers>
#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/model/forward_pass.h"
#include "normtweak/tweak/end_to_end.h"
#include "support/explicit_model.h"
#include "support/tiny_decoder.h"

namespace normtweak::tweak {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct SearchCase {
  const char* name;
  double best;        // divergence is least at this factor, and rises to both sides
  double fails_from;  // a trial with such a factor or a larger one is not finite
  double found;
  std::size_t trials;
};

TEST(RateSearch, WalksToTheBestPowerOfTwo) {
  const SearchCase cases[] = {
      {"the standard rate", 1, kInfinity, 1, 3},       {"larger", 4, kInfinity, 4, 4},
      {"at the upper end", 100, kInfinity, 8, 4},      {"smaller", 0.25, kInfinity, 0.25, 5},
      {"at the lower end", 1e-3, kInfinity, 0.125, 5}, {"all but the smallest fail", 1e-3, 0.2, 0.125, 4},
  };
  for (const auto& row : cases) {
    SCOPED_TRACE(row.name);
    const auto search = search_rate([&](double factor) {
      return factor >= row.fails_from ? std::nan("") : std::abs(std::log2(factor / row.best));
    });
    EXPECT_EQ(search.factor, row.found);
    EXPECT_EQ(search.trials.size(), row.trials);
  }
}

TEST(RateSearch, BeginsAtTheRootOfTheDamage) {
  EXPECT_DOUBLE_EQ(standard_rate(0.16), 0.002);
  EXPECT_DOUBLE_EQ(standard_rate(0.64), 2 * standard_rate(0.16));
  for (const double nothing : {0.0, -1e-9, 1e-12}) EXPECT_DOUBLE_EQ(standard_rate(nothing), 2.5e-4);
  EXPECT_DOUBLE_EQ(standard_rate(100), 0.01);
}

TEST(RateSearch, ShortRunsHaveNoTrials) {
  EXPECT_EQ(trial_steps(79), 0);
  EXPECT_EQ(trial_steps(80), 8);
  EXPECT_EQ(trial_steps(100000), 8);
}

TEST(Training, TheRateWarmsUpAndFallsAsACosine) {
  TrainingOptions options;
  options.warmup_steps = 4;
  options.steps = 40;
  for (const std::int64_t step : {0, 1, 3, 4, 20, 39}) {
    const auto t = static_cast<double>(step);
    EXPECT_NEAR(rate_share(step, options), std::min(1.0, (t + 1) / 4) * (1 + std::cos(std::numbers::pi * t / 40)) / 2,
                1e-12);
  }
}

struct Problem {
  model::Decoder teacher, student;
  TextSplit text;
};

Problem make_problem(std::int64_t samples = 64, std::int64_t tokens = 16) {
  Problem problem;
  problem.teacher = tests::tiny_decoder();
  problem.student = tests::quantized(problem.teacher, tests::Weights::groups);
  problem.text = split_text({.ids = tests::random_ids(problem.teacher, samples, tokens), .mask = {}, .provenance = {}});
  return problem;
}

EndToEndResult run(const Problem& problem, const EndToEndOptions& options, ProgressSink& sink = silent_progress()) {
  return tweak_end_to_end(problem.teacher, problem.student, problem.text, options, sink);
}

TEST(Automatic, ChoosesRateBatchAndSteps) {
  const auto problem = make_problem();
  const auto result = run(problem, {.passes = 16});
  EXPECT_EQ(result.batch_rows, problem.text.train.samples() / 8);  // 8192 tokens are more than there are
  EXPECT_GE(result.trials.size(), 2U);
  EXPECT_EQ(result.steps, result.planned_steps);
  EXPECT_EQ(result.tokens, 16 * problem.text.train.ids.numel());
  double least = kInfinity, factor = 0;
  for (const auto& trial : result.trials) {
    if (trial.divergence < least) {
      least = trial.divergence;
      factor = trial.factor;
    }
  }
  ASSERT_EQ(result.candidates[0].name, "untouched");
  const double standard = standard_rate(result.candidates[0].divergence);
  EXPECT_DOUBLE_EQ(result.rates.norms, 0.2 * factor * standard);  // beside scales
  EXPECT_DOUBLE_EQ(result.rates.scales, factor * standard);
}

TEST(Automatic, TakesFewPassesOverLargeModels) {
  const auto problem = make_problem(64, 64);
  std::int64_t weights = 0;
  for (int i = 0; i < problem.teacher.blocks.size(); ++i) {
    for (const auto& part : problem.teacher.blocks.get(i)->linears) {
      weights += std::get<weights::FloatWeight>(part.linear.weight).values.numel();
    }
  }
  const auto train = problem.text.train.samples();
  ASSERT_GE(train, 8 * 6);
  EndToEndOptions options = {.norm_rate = 1e-3, .scale_rate = 1e-3, .checks = 0};
  options.large_model = weights;
  const auto few = run(problem, options);
  EXPECT_EQ(few.batch_rows, train / 8);  // 4096 tokens would be more than there are
  EXPECT_EQ(few.tokens, 2 * problem.text.train.ids.numel());
  options.passes = 3;  // what is given counts
  EXPECT_EQ(run(problem, options).tokens, 3 * problem.text.train.ids.numel());
  options.passes = 0;
  options.large_model = weights + 1;
  EXPECT_EQ(run(problem, options).tokens, 8 * problem.text.train.ids.numel());
}

std::vector<at::Tensor> tensors_of(const model::Decoder& decoder) {
  std::vector<at::Tensor> all = {decoder.final_norm.weight};
  for (int i = 0; i < decoder.blocks.size(); ++i) {
    map_tensors(*decoder.blocks.stored(i), [&](const at::Tensor& tensor) { return all.emplace_back(tensor); });
  }
  return all;
}

// With what the report of the run says of it. checks: as in the run.
void expect_repeated(const Problem& problem, const EndToEndResult& first, std::int64_t checks) {
  EndToEndOptions again;
  again.checks = checks;
  again.steps = first.planned_steps;
  again.stop_after = first.steps;
  again.norm_rate = first.rates.norms;
  again.scale_rate = first.rates.scales;
  again.batch_rows = first.batch_rows;
  const auto second = run(problem, again);
  EXPECT_TRUE(second.trials.empty());
  EXPECT_EQ(second.steps, first.steps);
  EXPECT_EQ(second.planned_steps, first.planned_steps);
  EXPECT_EQ(second.chosen, first.chosen);
  EXPECT_EQ(second.stopped_early.empty(), first.stopped_early.empty());
  ASSERT_EQ(second.candidates.size(), first.candidates.size());
  for (std::size_t i = 0; i < first.candidates.size(); ++i) {
    EXPECT_EQ(second.candidates[i].divergence, first.candidates[i].divergence) << first.candidates[i].name;
  }
  const auto ours = tensors_of(second.decoder), theirs = tensors_of(first.decoder);
  ASSERT_EQ(ours.size(), theirs.size());
  for (std::size_t i = 0; i < ours.size(); ++i) EXPECT_TRUE(ours[i].equal(theirs[i])) << i;
}

TEST(Automatic, StepsAndRatesRepeatARun) {
  const auto problem = make_problem();
  const auto first = run(problem, {.budget = {.seconds = 1.0}, .checks = 2});  // too few checks to stop early
  EXPECT_EQ(first.steps, first.planned_steps);
  expect_repeated(problem, first, 2);
}

TEST(Automatic, KeepsToABudgetOfTokens) {
  const auto problem = make_problem();
  const auto rows = problem.text.train.samples() / 8;
  for (const std::int64_t tokens : {100, 5000, 100000}) {
    EndToEndOptions options;
    options.budget.tokens = tokens;
    options.checks = 2;  // too few to stop early
    const auto result = run(problem, options);
    const auto trial_tokens =
        static_cast<std::int64_t>(result.trials.size()) * trial_steps(tokens / (rows * 16)) * rows * 16;
    EXPECT_LE(result.tokens + trial_tokens, std::max<std::int64_t>(tokens, rows * 16)) << tokens;
    EXPECT_GE(result.tokens + trial_tokens, tokens / 2) << tokens;
  }
}

TEST(Automatic, KeepsToABudgetOfSeconds) {
  const auto problem = make_problem();
  EndToEndOptions options;
  options.budget.seconds = 1e-3;  // less than anything takes: one step is the least
  EXPECT_EQ(run(problem, options).planned_steps, 1);
}

TEST(Automatic, StopsWhereNothingIsGainedAnyMore) {
  const auto problem = make_problem(16, 8);  // little text: it is soon learned by heart
  EndToEndOptions options;
  options.norm_rate = options.scale_rate = 5e-3;
  options.passes = 60;
  options.checks = 30;
  const auto result = run(problem, options);
  EXPECT_NE(result.stopped_early.find("no gain on held-out rows in 3 checks"), std::string::npos)
      << result.stopped_early;
  EXPECT_LT(result.steps, result.planned_steps);
  EXPECT_NE(result.chosen, "untouched");
  expect_repeated(problem, result, options.checks);
  options.steps = result.planned_steps;  // asked for by number, all are taken
  EXPECT_EQ(run(problem, options).steps, result.planned_steps);
}

// A second text is written to see what that takes only where the budget has time for it.
TEST(Automatic, ATimeBudgetDecidesHowManyTextsAreWritten) {
  const auto problem = make_problem();
  for (const double seconds : {1e-3, 1.0}) {
    std::vector<std::int64_t> written;
    const FreshText fresh = [&](std::int64_t number, const std::function<bool()>&) {
      written.push_back(number);
      return problem.text.train;
    };
    const EndToEndOptions options = {.passes_per_text = 2, .budget = {.seconds = seconds}, .checks = 2};
    const auto result = tweak_end_to_end(problem.teacher, problem.student, problem.text, options, silent_progress(), {},
                                         nullptr, fresh);
    const auto rows = problem.text.train.samples();
    const auto steps_per_text = 2 * ((rows + result.batch_rows - 1) / result.batch_rows);
    std::vector<std::int64_t> expected;
    for (std::int64_t text = 1; text * steps_per_text < result.steps; ++text) expected.push_back(text);
    if (seconds == 1 && expected.empty()) continue;  // on a machine so slow, the time may be over after a second text
    EXPECT_EQ(written, expected) << result.steps << " steps, " << steps_per_text << " for each text";
    EXPECT_TRUE(written.empty() || seconds == 1);
  }
}

// Raises SIGINT once some steps have been taken.
class Interrupting : public ProgressSink {
 public:
  void report(const ProgressReport& report) override {
    if (report.stage == "tweak end to end" && report.done > 0 && !raised_) {
      raised_ = true;
      std::raise(SIGINT);
    }
  }
  void note(std::string_view) override {}

 private:
  bool raised_ = false;
};

TEST(Automatic, AnInterruptedRunEndsWithItsBestState) {
  const auto problem = make_problem();
  std::signal(SIGINT, SIG_DFL);  // tests in the background may have been told to ignore it
  Interrupting sink;
  const auto result = run(problem, {.passes = 4}, sink);
  EXPECT_NE(result.stopped_early.find("interrupted after step 1"), std::string::npos) << result.stopped_early;
  EXPECT_EQ(result.steps, 1);
  double least = kInfinity;
  for (const auto& candidate : result.candidates) least = std::min(least, candidate.divergence);
  EXPECT_LE(least, result.candidates.front().divergence);
  expect_repeated(problem, result, EndToEndOptions{}.checks);
}

TEST(TeacherStates, AreTheSameOnDisk) {
  const auto problem = make_problem(12, 8);
  Stage stage(silent_progress(), "", 0, "");
  const TeacherStates in_memory(problem.teacher, problem.text.train, stage),
      on_disk(problem.teacher, problem.text.train, stage, /*memory_bytes=*/0);
  const auto rows = at::arange(problem.text.train.samples(), at::TensorOptions(at::kLong)).flip(0);
  const auto a = in_memory.pick(rows, at::kCPU), b = on_disk.pick(rows, at::kCPU);
  EXPECT_TRUE(a.teacher_hidden.equal(b.teacher_hidden));
  EXPECT_LT(tests::relative_error(a.teacher_hidden, last_hidden_state(problem.teacher, a.ids)), 1e-6);
}

TEST(Candidates, TheLeastFiniteDivergenceLeads) {
  const auto problem = make_problem(8, 4);
  Student student(problem.student, {TunableGroup::norms, TunableGroup::scales});
  std::vector<double> scores = {2, std::nan(""), 0.5, 0.7, 0.5, 0.6, 0.9, 0.4};
  std::size_t next = 0;
  Candidates candidates(student, 1, [&] { return scores.at(next++); });
  auto state = state_of(student);
  for (auto& change : state.changes) change.fill_(1);
  candidates.consider("worse", state);
  candidates.consider("no number", state);
  EXPECT_EQ(candidates.leader_name(), "untouched");
  EXPECT_EQ(candidates.leader().changes[0].abs().max().item<double>(), 0);
  candidates.consider("better", state);
  EXPECT_EQ(candidates.leader_name(), "better");
  candidates.consider_parts_of(candidates.leader());
  ASSERT_EQ(candidates.all().size(), 9U);
  EXPECT_EQ(candidates.all()[4].name, "0.8 of the way");
  EXPECT_EQ(candidates.all()[7].name, "without norms");
  EXPECT_EQ(candidates.leader_name(), "without scales");  // 0.4; the earlier 0.5 would win a tie
  EXPECT_EQ(candidates.leader().changes[1].abs().max().item<double>(), 0);
  EXPECT_EQ(candidates.leader().changes[0].min().item<double>(), 1);
}

// A bowl with its lowest point at half of the norms' change and one and a half times the scales'.
TEST(Candidates, GroupsAreScaledByThemselves) {
  const auto problem = make_problem(8, 4);
  Student student(problem.student, {TunableGroup::norms, TunableGroup::scales});
  const auto score = [&] {
    double sum = 0;
    for (const auto& group : student.tunables().groups()) {
      const double lowest = group.group == TunableGroup::norms ? 0.5 : 1.5;
      sum += std::pow(group.change.mean().item<double>() - lowest, 2);
    }
    return sum;
  };
  Candidates candidates(student, score(), score);
  auto state = state_of(student);
  for (auto& change : state.changes) change.fill_(1);
  candidates.consider("last", state);
  candidates.search_by_group();
  EXPECT_EQ(candidates.leader_name(), "last, 0.5 of norms, 1.5 of scales");
  EXPECT_EQ(candidates.leader().changes[0].min().item<double>(), 0.5);
  EXPECT_EQ(candidates.leader().changes[1].min().item<double>(), 1.5);
  // Each direction ends with the first step that does not help.
  EXPECT_EQ(candidates.all().size(), 2U + 3U + 4U);
}

}  // namespace
}  // namespace normtweak::tweak
