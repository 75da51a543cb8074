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
  constexpr std::int64_t kOfBlock = 130, kOfStep = 130, kAllocationsOfBlock = 40;
  EXPECT_LE(more_blocks.operators, kSteps * kOfBlock);
  EXPECT_LE(more_blocks.allocations, kSteps * kAllocationsOfBlock);
  EXPECT_LE(steps.operators, kSteps * (2 * kOfBlock + kOfStep));
  EXPECT_EQ((generation(2, kSteps, 8) - generation(2, kSteps, 4)).operators, 0);  // rows go through together
}

Counts quantization(int layers, std::int64_t hidden, std::int64_t tokens) {
  const auto decoder =
      tiny_decoder({.layers = layers, .context = 512, .hidden = hidden, .head_size = 8, .intermediate = 2 * hidden});
  quantize::QuantizationPlan plan;
  plan.standard.method = "gptq";
  plan.standard.bits = 3;
  plan.standard.group_size = 16;
  plan.drift_correction = 1;
  const calibrate::TokenBatch text = {.ids = tests::random_ids(decoder, 8, tokens), .mask = {}, .provenance = {}};
  return counts_of([&] {
    BlockwiseOptions options;
    options.plan = &plan;
    run_blocks(decoder, decoder, decoder, text, options, silent_progress());
  });
}

TEST(OperatorCounts, QuantizingABlock) {
  const auto block = quantization(3, 32, 16) - quantization(2, 32, 16);
  // Two streams, each in two halves up to the three places behind the attention, and once whole.
  EXPECT_LE(block.passes, 2 * (2 * 3 + 1));
  constexpr std::int64_t kLinears = 7, kOfLinear = 1200, kWaitsOfLinear = 40, kAllocationsOfLinear = 600;
  EXPECT_LE(block.operators, kLinears * kOfLinear);
  EXPECT_LE(block.waits, kLinears * kWaitsOfLinear);
  EXPECT_LE(block.allocations, kLinears * kAllocationsOfLinear);
  // Tokens of longer rows, and columns that fit one block of GPTQ, take no more calls.
  EXPECT_LE((quantization(2, 32, 64) - quantization(2, 32, 16)).operators, 100);
  EXPECT_LE((quantization(2, 64, 16) - quantization(2, 32, 16)).operators, 2 * kLinears * 40);
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
  EXPECT_LE(steps.operators, 10 * 1000);
  EXPECT_LE(steps.allocations, 10 * 500);
  EXPECT_LE((tweaking(2, 64, 10) - tweaking(2, 16, 10)).operators, 100);
}

}  // namespace
}  // namespace normtweak::pipeline
