// Bounds on calls of operators, passes and waits for the device, for tiny models: a guard against work that is launched
// per token or per column. What takes how long is measured elsewhere (bench/whole_job.py).
#include <gtest/gtest.h>

#include <functional>

#include "normtweak/model/generation.h"
#include "normtweak/pipeline/blockwise.h"
#include "normtweak/tweak/end_to_end.h"
#include "support/counted_memory.h"
#include "support/counted_operators.h"
#include "support/tiny_decoder.h"

namespace normtweak::pipeline {
namespace {

using tests::CountedOperators, tests::tiny_decoder;

struct Counts {
  std::int64_t operators, passes, waits, allocations;
  Counts operator-(const Counts& other) const {
    return {operators - other.operators, passes - other.passes, waits - other.waits, allocations - other.allocations};
  }
};

Counts counts_of(const std::function<void()>& work) {
  const tests::CountedMemory memory;
  const CountedOperators counted;
  work();
  return {counted.all(), counted.passes(), counted.waits(), memory.allocations()};
}

Counts generation(int layers, std::int64_t tokens, std::int64_t samples = 4) {
  const auto decoder = tiny_decoder({.layers = layers, .context = 512});
  model::GenerationOptions options;
  options.samples = samples;
  options.tokens = tokens;
  options.first_tokens = {10, 11};
  options.end_tokens = {3};
  options.never = {0};
  return counts_of([&] { model::generate(decoder, options, silent_progress()); });
}

TEST(OperatorCounts, AStepOfGeneration) {
  constexpr std::int64_t kSteps = 64;
  const auto steps = generation(2, 2 * kSteps + 1) - generation(2, kSteps + 1);
  EXPECT_EQ(steps.passes, 2 * kSteps);  // one of each block
  EXPECT_LE(steps.waits, 1);            // for all of them
  const auto more_blocks = generation(3, kSteps + 1) - generation(2, kSteps + 1);
  constexpr std::int64_t kOfBlock = 270, kOfStep = 130, kAllocationsOfBlock = 40;
  EXPECT_LE(more_blocks.operators, kSteps * kOfBlock);
  EXPECT_LE(more_blocks.allocations, kSteps * kAllocationsOfBlock);
  EXPECT_LE(steps.operators, kSteps * (2 * kOfBlock + kOfStep));
  EXPECT_EQ((generation(2, kSteps, 8) - generation(2, kSteps, 4)).operators, 0);  // rows go through together
}

// All linears have as many columns, and at most 96 channels, which a CPU rounds together.
struct Columns {
  std::int64_t hidden;
  int group_size;
};

Counts quantization(int layers, const Columns& columns, std::int64_t tokens, bool keeps_places = false) {
  const auto hidden = columns.hidden;
  const auto decoder =
      tiny_decoder({.layers = layers, .context = 512, .hidden = hidden, .head_size = 8, .intermediate = hidden});
  quantize::QuantizationPlan plan;
  plan.standard.method = "gptq";
  plan.standard.bits = 3;
  plan.standard.group_size = columns.group_size;
  plan.drift_correction = 1;
  const calibrate::TokenBatch text = {.ids = tests::random_ids(decoder, 8, tokens), .mask = {}, .provenance = {}};
  return counts_of([&] {
    BlockwiseOptions options;
    options.plan = &plan;
    options.keeps_places = keeps_places;
    run_blocks(decoder, decoder, decoder, text, options, silent_progress());
  });
}

TEST(OperatorCounts, QuantizingABlock) {
  constexpr std::int64_t kLinears = 7, kGroups = kLinears * 2;  // of a block
  const auto block = quantization(3, {32, 16}, 16) - quantization(2, {32, 16}, 16);
  // Two streams, each in two halves up to the three places behind the attention, and each once whole.
  EXPECT_LE(block.passes, 2 * 2 * 3 + 2);
  // Where places are kept, no pass computes the attention of its rows again.
  EXPECT_LE((quantization(3, {32, 16}, 16, true) - quantization(2, {32, 16}, 16, true)).passes, 2 * 2);
  EXPECT_LE(block.operators, kLinears * 2000 + kGroups * 210);
  EXPECT_LE(block.waits, kLinears * 40);
  EXPECT_LE(block.allocations, kLinears * 600);
  // Neither longer rows nor wider groups take more calls: a call per column would be 448 of them.
  EXPECT_LE((quantization(2, {32, 16}, 64) - quantization(2, {32, 16}, 16)).operators, 100);
  EXPECT_LE((quantization(2, {64, 32}, 16) - quantization(2, {32, 16}, 16)).operators, 100);
}

Counts tweaking(int layers, std::int64_t tokens, std::int64_t steps) {
  const auto decoder = tiny_decoder({.layers = layers, .context = 512});
  const auto quantized = tests::quantized(decoder, tests::Weights::groups);
  const auto text = tweak::split_text({.ids = tests::random_ids(decoder, 24, tokens), .mask = {}, .provenance = {}});
  tweak::EndToEndOptions options;
  options.steps = steps;
  options.batch_rows = 2;
  options.norm_rate = options.scale_rate = options.zero_rate = 1e-4;  // no trials
  return counts_of([&] { tweak::tweak_end_to_end(decoder, quantized, text, options, silent_progress()); });
}

TEST(OperatorCounts, AStepOfTheTweak) {
  const auto steps = tweaking(2, 16, 20) - tweaking(2, 16, 10);
  EXPECT_LE(steps.operators, 10 * 1900);
  EXPECT_LE(steps.allocations, 10 * 500);
  // Longer rows take about as many, up to what the choice of candidates does: a call per token would be 960 of them.
  const auto longer = tweaking(2, 64, 20) - tweaking(2, 64, 10);
  EXPECT_LE((longer - steps).operators, 500);
}

}  // namespace
}  // namespace normtweak::pipeline
