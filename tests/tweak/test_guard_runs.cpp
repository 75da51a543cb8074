// The promise "never worse", on many random runs: models, bits, what is tuned, text, and learning rates up to the
// absurd. NORMTWEAK_GUARD_RUNS asks for more than the 40 that every run of the tests makes (200 are the published
// figure).
#include <ATen/Context.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <random>

#include "normtweak/evaluate/scores.h"
#include "normtweak/tweak/end_to_end.h"
#include "normtweak/tweak/guard.h"
#include "support/tiny_decoder.h"

namespace normtweak::tweak {
namespace {

using tests::Weights;

class RandomRun {
 public:
  explicit RandomRun(std::uint64_t seed) : random_(seed) {
    at::manual_seed(seed);
    teacher_ = tests::tiny_decoder({.llama = coin(), .biases = coin(), .layers = pick(1, 3), .seed = seed});
    const Weights kinds[] = {Weights::groups, Weights::channels, Weights::codebook};
    student_ = tests::quantized(teacher_, kinds[pick(0, 2)]);
    if (coin()) student_.config.stored_type = at::kBFloat16;
    options_.groups = {TunableGroup::norms};
    for (const auto group :
         {TunableGroup::biases, TunableGroup::scales, TunableGroup::codebooks, TunableGroup::zeros}) {
      if (coin()) options_.groups.insert(group);
    }
    if (coin()) options_.norm_rate = std::pow(10.0, std::uniform_real_distribution(-5.0, 4.0)(random_));
    if (coin()) options_.scale_rate = std::pow(10.0, std::uniform_real_distribution(-5.0, 4.0)(random_));
    options_.passes = pick(1, 5);
    options_.batch_rows = pick(1, 12);
    options_.seed = seed;
    tokens_ = pick(4, 24);
  }

  // Mean gain over rows of a text that the run never saw, in its standard errors; 0 where the untouched state was kept.
  double gain_in_errors() {
    const auto text = split_text(make_text(pick(8, 64)));
    const auto result = tweak_end_to_end(teacher_, student_, text, options_, silent_progress());
    const auto rows = [&](const model::Decoder& decoder, const calibrate::TokenBatch& batch) {
      return evaluate::score(decoder, &teacher_, batch, {}, silent_progress()).divergence_by_row;
    };
    if (!judge(rows(student_, text.confirm), rows(result.decoder, text.confirm)).accepted) return 0;
    ++accepted;
    const auto third = make_text(64);
    const auto verdict = judge(rows(student_, third), rows(result.decoder, third));
    return verdict.gain / verdict.gain_error;
  }

  static inline int accepted = 0;

 private:
  bool coin() { return pick(0, 1) == 1; }
  int pick(int low, int high) { return std::uniform_int_distribution(low, high)(random_); }
  calibrate::TokenBatch make_text(std::int64_t samples) {
    return {.ids = tests::random_ids(teacher_, samples, tokens_), .mask = {}, .provenance = {}};
  }

  std::mt19937_64 random_;
  model::Decoder teacher_, student_;
  EndToEndOptions options_;
  std::int64_t tokens_ = 0;
};

TEST(Guard, IsNeverWorseThanUntouchedOnAThirdText) {
  const char* asked = std::getenv("NORMTWEAK_GUARD_RUNS");
  const int runs = asked == nullptr ? 40 : std::max(40, std::atoi(asked));
  int worse = 0;
  for (int run = 0; run < runs; ++run) {
    const double gain = RandomRun(static_cast<std::uint64_t>(run)).gain_in_errors();
    if (!(gain < -2)) continue;
    ++worse;
    EXPECT_GE(run, 40) << "run " << run << " lost " << -gain << " standard errors";
  }
  EXPECT_LE(worse, 0.02 * runs);
  EXPECT_GT(RandomRun::accepted, runs / 4);  // a guard that refuses everything keeps the promise, too
  RecordProperty("runs", runs);
  RecordProperty("worse", worse);
  RecordProperty("accepted", RandomRun::accepted);
  std::printf("%d runs, %d accepted, %d worse by more than two standard errors\n", runs, RandomRun::accepted, worse);
}

}  // namespace
}  // namespace normtweak::tweak
