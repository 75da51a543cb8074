// What lives where, for models whose sizes are known: LLaMA-7B's blocks hold 6.48 thousand million weights.
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>

#include "normtweak/base/device/memory.h"
#include "normtweak/base/error.h"
#include "normtweak/model/generation.h"
#include "normtweak/pipeline/memory_plan.h"
#include "normtweak/pipeline/run_needs.h"
#include "normtweak/pipeline/tuned_floats.h"
#include "normtweak/tweak/teacher_states.h"
#include "pipeline/llama_7b.h"
#include "support/temporary_folder.h"

namespace normtweak::pipeline {
namespace {

using model::Residence, tests::llama_70b, tests::llama_7b, tests::message_of;

constexpr std::int64_t kGiB = std::int64_t{1} << 30;
constexpr std::int64_t kBlocks = std::int64_t{32} * (4 * 4096 * 4096 + 3 * 4096 * 11008), kBlock = kBlocks / 32;
constexpr std::int64_t kOutside = std::int64_t{2} * 32000 * 4096;

const Compute kGpu = {.device = c10::Device(at::kCUDA, 0), .type = at::kBFloat16};
const Compute kCpu = {.device = at::kCPU, .type = at::kBFloat16};
const Compute kCpuF32 = {.device = at::kCPU, .type = at::kFloat};

struct RunCase {
  const char* name;
  Compute compute;
  AvailableMemory available;
  at::ScalarType stored;
  Residence exact, passes, quantized;
  bool widened;
};

TEST(MemoryPlan, WhatDoesNotFitGoesInOrder) {
  const auto device = Residence::device, host = Residence::host, file = Residence::file;
  const RunCase cases[] = {
      {"all but F32 fits", kGpu, {55 * kGiB, 64 * kGiB}, at::kBFloat16, file, device, device, true},
      {"everything fits", kGpu, {300 * kGiB, 64 * kGiB}, at::kBFloat16, device, device, device, false},
      {"F32 from host memory", kGpu, {55 * kGiB, 64 * kGiB}, at::kHalf, host, device, device, false},
      {"F32 from the file", kGpu, {55 * kGiB, 16 * kGiB}, at::kHalf, file, device, device, false},
      {"float blocks streamed", kGpu, {28 * kGiB, 64 * kGiB}, at::kBFloat16, file, host, device, true},
      {"quantized ones, too", kGpu, {16 * kGiB, 64 * kGiB}, at::kBFloat16, file, host, host, true},
      {"host memory small", kGpu, {16 * kGiB, 8 * kGiB}, at::kBFloat16, file, file, host, true},
      {"host memory for one", kGpu, {16 * kGiB, 16 * kGiB}, at::kBFloat16, file, file, host, true},
      {"CPU, everything fits", kCpu, {64 * kGiB, 0}, at::kBFloat16, device, device, device, false},
      {"CPU, one copy", kCpu, {40 * kGiB, 0}, at::kBFloat16, file, device, device, true},
      {"CPU, none", kCpu, {22 * kGiB, 0}, at::kBFloat16, file, file, device, true},
      {"CPU in F32, fits", kCpuF32, {48 * kGiB, 0}, at::kBFloat16, device, device, device, false},
      {"CPU in F32, does not", kCpuF32, {32 * kGiB, 0}, at::kBFloat16, file, file, device, false},
  };
  for (const auto& row : cases) {
    SCOPED_TRACE(row.name);
    const auto plan = plan_run(llama_7b(row.stored), row.compute, {.calibration_tokens = 32 * 2048}, row.available);
    EXPECT_EQ(plan.exact, row.exact);
    EXPECT_EQ(plan.passes, row.passes);
    EXPECT_EQ(plan.quantized, row.quantized);
    EXPECT_EQ(plan.widened, row.widened);
    EXPECT_EQ(describe(plan).empty(), plan.passes == device && plan.quantized == device);
  }
}

TEST(MemoryPlan, TheWorkGetsWhatWeightsLeave) {
  const std::int64_t available = 55 * kGiB;
  const auto plan = plan_run(llama_7b(), kGpu, {.quantized = {1.25, 1.25}, .calibration_tokens = 2048}, {available, 0});
  // Embedding and head in both types; float blocks in bf16; quantized ones; three F32 blocks at a time.
  EXPECT_EQ(plan.workspace, available - kOutside * 6 - kBlocks * 2 - kBlocks * 5 / 4 - 3 * kBlock * 4);
}

TEST(MemoryPlan, WhatTheTweakMovesIsCountedTwelveTimes) {
  const AvailableMemory available = {55 * kGiB, 0};
  const auto workspace = [&](std::int64_t tuned_floats) {
    return plan_run(llama_7b(), kGpu, {.calibration_tokens = 2048, .tuned_floats = tuned_floats}, available).workspace;
  };
  EXPECT_EQ(workspace(0) - workspace(50'000'000), std::int64_t{50'000'000} * 12 * 4);
}

// The work of the run over the blocks, from what it says that it needs: the largest text that still fits.
std::int64_t most_tokens(RunNeeds needs, const AvailableMemory& available) {
  std::int64_t fits = 0, too_many = std::int64_t{1} << 40;
  while (too_many - fits > 1) {
    needs.calibration_tokens = fits + (too_many - fits) / 2;
    try {
      plan_run(llama_7b(), kGpu, needs, available);
      fits = needs.calibration_tokens;
    } catch (const Error&) {
      too_many = needs.calibration_tokens;
    }
  }
  return fits;
}

TEST(MemoryPlan, TheLeastWorkCountsTheDampedHessianOfSweeps) {
  const AvailableMemory available = {16 * kGiB, 64 * kGiB};
  const auto room = [&](bool sweeps) { return most_tokens({.sweeps = sweeps}, available) * 4096 * 4; };
  constexpr std::int64_t kHessian = std::int64_t{11008} * 11008;
  EXPECT_NEAR(static_cast<double>(room(false) - room(true)), 5.0 * kHessian, 4096 * 4);  // F32 and a mask
}

// A row of 60000 tokens: 32 inputs of blocks in F32, and what autograd keeps of one block, are 39 GiB.
TEST(MemoryPlan, TheLeastWorkCountsARowWhoseTokensAreWeighed) {
  const auto plan = [](std::int64_t row_tokens) {
    return plan_run(llama_7b(), kGpu, {.calibration_tokens = 60000, .gradient_row_tokens = row_tokens},
                    {40 * kGiB, 64 * kGiB});
  };
  EXPECT_LT(plan(2048).workspace, 40 * kGiB);
  EXPECT_THROW(plan(60000), Error);
}

// Rules may keep linears float or change their groups, so that the quantized model takes more than its standard plan.
TEST(MemoryPlan, QuantizedBlocksAreSizedByTheirPlans) {
  constexpr double kMlp = 3.0 * 4096 * 11008, kAll = kMlp + 4.0 * 4096 * 4096;
  struct Case {
    const char* rule;
    double mean, largest, on_host;  // there two codes of 4 bits share a byte
  };
  const Case cases[] = {
      {"*=group:128", 1 + 8 / 128.0, 1 + 8 / 128.0, 0.5 + 8 / 128.0},
      {"*=group:16", 1.5, 1.5, 1},
      {"*mlp*=skip", (kMlp * 4 + (kAll - kMlp) * (1 + 8 / 128.0)) / kAll,
       (kMlp * 4 + (kAll - kMlp) * (1 + 8 / 128.0)) / kAll, (kMlp * 4 + (kAll - kMlp) * (0.5 + 8 / 128.0)) / kAll},
      {"*=bits:8", 1 + 8 / 128.0, 1 + 8 / 128.0, 1 + 8 / 128.0},
      // Codes of the MLP, 16.9 MB, lie in 33.6 MB of pinned memory: more than the plan's margin covers.
      {"*=bits:3", 1 + 8 / 128.0, 1 + 8 / 128.0, (3 * (1 << 25) * 0.6 + (kAll - kMlp) * 3 / 8) / kAll + 8 / 128.0},
      {"*.31.*=skip", (31 * (1 + 8 / 128.0) + 4) / 32, 4, (31 * (0.5 + 8 / 128.0) + 4) / 32},
      {"*.7.*=group:16", (31 * (1 + 8 / 128.0) + 1.5) / 32, 1.5, (31 * (0.5 + 8 / 128.0) + 1) / 32},
  };
  for (const auto& row : cases) {
    SCOPED_TRACE(row.rule);
    quantize::QuantizationPlan plan;
    plan.rules.push_back(quantize::parse_rule(row.rule));
    const auto found = size_in_memory(planned_linears(plan, llama_7b()));
    EXPECT_NEAR(found.mean, row.mean, 1e-9);
    EXPECT_NEAR(found.largest, row.largest, 1e-9);
    EXPECT_NEAR(found.on_host, row.on_host, 1e-8);
  }
}

// A code, a fraction of 16 bits and a momentum in bf16 for each weight that learns, whatever holds its codes.
TEST(MemoryPlan, PositionsOfLearnedCodesAreCounted) {
  constexpr std::int64_t kDown = 32LL * 4096 * 11008, kAll = 32LL * (3LL * 4096 * 11008 + 4LL * 4096 * 4096);
  TweakOptions tweak;
  tweak.end_to_end.codes = tweak::CodeOptions{};
  const auto bytes = [&](const std::string& rule) {
    quantize::QuantizationPlan plan;
    plan.rules.push_back(quantize::parse_rule(rule));
    return needs_to_quantize(plan, planned_linears(plan, llama_7b()), tweak, {4, 16}, {}, {}).learned_code_bytes;
  };
  EXPECT_EQ(bytes("*=group:128"), 5 * kAll);
  for (const auto* type : {"Q4_0", "IQ4_NL", "Q2_K", "Q6_K"}) {
    EXPECT_EQ(bytes(std::string("*.down_proj=type:") + type), 5 * kAll) << type;
  }
  EXPECT_EQ(bytes("*.down_proj=method:kmeans"), 5 * (kAll - kDown));
}

// The inputs of all blocks are kept for a step's tokens: 4096 of a model as large as this one, unless passes, a budget
// or rows are given.
TEST(MemoryPlan, TokensOfAStepThatLearnsCodesAreCounted) {
  const auto tokens = [](const std::function<void(tweak::EndToEndOptions&)>& change, std::int64_t row_tokens = 512) {
    TweakOptions tweak;
    tweak.end_to_end.codes = tweak::CodeOptions{};
    change(tweak.end_to_end);
    return needs_to_quantize({}, planned_linears({}, llama_7b()), tweak, {512, row_tokens}, {}, {}).step_tokens;
  };
  EXPECT_EQ(tokens([](auto&) {}), 4096);
  EXPECT_EQ(tokens([](auto&) {}, 6000), 6000);  // a row
  EXPECT_EQ(tokens([](auto& options) { options.passes = 2; }), 16384);
  EXPECT_EQ(tokens([](auto& options) { options.budget.seconds = 100; }), 16384);
  EXPECT_EQ(tokens([](auto& options) { options.batch_rows = 4; }), 4 * 512);
  EXPECT_EQ(tokens([](auto& options) { options.codes = std::nullopt; }), 0);
}

// What the layer-wise tweak keeps besides the stream that is quantized, in hidden states of the whole text.
TEST(MemoryPlan, TheStreamsOfATweakAreCounted) {
  TweakOptions layerwise, none, end_to_end;
  layerwise.method = TweakMethod::layerwise;
  none.method = TweakMethod::none;
  auto float_stream = layerwise, final_norm = layerwise;
  float_stream.layerwise.float_stream = final_norm.layerwise.final_norm = true;
  auto both = float_stream;
  both.layerwise.final_norm = true;
  const auto streams = [](const TweakOptions& tweak) {
    return needs_to_quantize({}, planned_linears({}, llama_7b()), tweak, {4, 16}, {}, {}).more_streams;
  };
  EXPECT_EQ(streams(none), 0);
  EXPECT_EQ(streams(end_to_end), 0);
  EXPECT_EQ(streams(layerwise), 1);     // the float block's output on the quantized stream
  EXPECT_EQ(streams(float_stream), 1);  // which is the target
  EXPECT_EQ(streams(final_norm), 2);    // both
  EXPECT_EQ(streams(both), 2);          // the stream, and its norm
}

// A row of 60000 tokens within one block, in F32: 60000 (5 * 4096 + 4096 + 4 * 11008) * 4 bytes are 15 GiB.
TEST(MemoryPlan, TheLeastWorkCountsOneRow) {
  const auto plan = [](std::int64_t row_tokens) {
    return plan_run(llama_7b(), kGpu, {.calibration_tokens = 60000, .row_tokens = row_tokens}, {16 * kGiB, 64 * kGiB});
  };
  EXPECT_LT(plan(2048).workspace, 16 * kGiB);
  EXPECT_THROW(plan(60000), Error);
}

TEST(TunedFloats, FollowFromThePlan) {
  constexpr std::int64_t kNorms = 65 * 4096, kOutputs = std::int64_t{32} * (5 * 4096 + 2 * 11008);
  struct Case {
    const char *name, *rule, *groups;
    TweakMethod method;
    std::int64_t expected;
  };
  const auto end_to_end = TweakMethod::end_to_end;
  const Case cases[] = {
      {"groups", "*=group:128", "norms,scales,zeros", end_to_end, kNorms + kBlocks / 128},
      {"float zeros", "*=group:128,float-zeros", "norms,scales,zeros", end_to_end, kNorms + 2 * kBlocks / 128},
      {"whole rows", "*=group:0", "norms,scales", end_to_end, kNorms + kOutputs},
      {"norms alone", "*=group:128", "norms", end_to_end, kNorms},
      {"codebooks", "*=method:kmeans,bits:3", "scales", end_to_end, 8 * kOutputs},
      {"some stay float", "*mlp*=skip", "scales", end_to_end, std::int64_t{32} * 4 * 4096 * 4096 / 128},
      {"block by block", "*=group:128", "norms,scales", TweakMethod::layerwise, 0},
  };
  for (const auto& row : cases) {
    SCOPED_TRACE(row.name);
    quantize::QuantizationPlan plan;
    plan.rules.push_back(quantize::parse_rule(row.rule));
    TweakOptions tweak;
    tweak.method = row.method;
    tweak.end_to_end.groups = tweak::parse_groups(row.groups);
    const auto model = llama_7b();
    EXPECT_EQ(tuned_floats(tunable_floats(model, planned_linears(plan, model)), tweak), row.expected);
  }
}

// Every linear with scales [10, 4] and zero-points beside them, which are whole or floats.
class Packed : public tests::TypesOnly {
 public:
  explicit Packed(bool float_zeros) : TypesOnly(at::kBFloat16), float_zeros_(float_zeros) {}
  bool contains(const std::string& /*name*/) const override { return true; }
  std::optional<weights::Weight> outline(const std::string& /*name*/) const override {
    const auto empty = [](at::ScalarType type) {
      return at::empty({10, 4}, at::TensorOptions(type).device(at::kMeta));
    };
    return weights::AffineWeight{.codes = empty(at::kByte),
                                 .scales = empty(at::kFloat),
                                 .zeros = empty(at::kFloat),
                                 .group_size = 1,
                                 .float_zeros = float_zeros_};
  }

 private:
  bool float_zeros_;
};

TEST(TunedFloats, AreThoseOfAQuantizedCheckpoint) {
  constexpr std::int64_t kNorms = 65 * 4096, kScales = 32 * 7 * 40;
  auto checkpoint = llama_7b();
  checkpoint.keeps_codes = true;
  checkpoint.tensors = std::make_shared<Packed>(false);
  EXPECT_EQ(tuned_floats(tunable_floats(checkpoint), {}), kNorms + kScales);
  checkpoint.tensors = std::make_shared<Packed>(true);
  EXPECT_EQ(tuned_floats(tunable_floats(checkpoint), {}), kNorms + 2 * kScales);
}

TEST(MemoryPlan, TooLittleIsSaidBeforeAnythingIsLoaded) {
  const auto plan = [](std::int64_t memory, std::int64_t tokens) {
    auto compute = kGpu;
    compute.memory = memory;
    return message_of<Error>([&] {
      plan_run(llama_7b(), compute, {.calibration_tokens = tokens}, {2 * kGiB, 64 * kGiB});
    });
  };
  EXPECT_NE(plan(2 * kGiB, 2048).find("or a larger --memory"), std::string::npos) << plan(2 * kGiB, 2048);
  EXPECT_NE(plan(0, 2048).find("or a larger machine"), std::string::npos);
  EXPECT_NE(plan(0, 2048).find("and there are 2.1 GiB"), std::string::npos);
}

// 92 % of what --memory says may be used.
TEST(MemoryPlan, TheMemoryThatIsNamedWillDo) {
  for (const bool corrects_drift : {false, true}) {
    for (const std::int64_t tokens : {2048, 32 * 2048, 300 * 2048, 1024 * 2048}) {
      for (const auto& model : {tests::smollm_135m(), llama_7b(), llama_70b()}) {
        const RunNeeds needs = {
            .calibration_tokens = tokens, .row_tokens = 2048, .corrects_drift = corrects_drift, .sweeps = true};
        const auto message = message_of<Error>([&] { plan_run(model, kGpu, needs, {kGiB / 4, 512 * kGiB}); });
        const std::string before = "the run needs about ";
        ASSERT_TRUE(message.starts_with(before)) << message;
        const auto named = parse_bytes(message.substr(before.size(), message.find(" of memory") - before.size()));
        const auto usable = [](std::int64_t memory) { return memory / 100 * 92; };
        EXPECT_NO_THROW(plan_run(model, kGpu, needs, {usable(named), 512 * kGiB})) << message;
        EXPECT_THROW(plan_run(model, kGpu, needs, {usable(named - kGiB / 5), 512 * kGiB}), Error) << message;
      }
    }
  }
}

TEST(MemoryPlan, ALargerLimitIsAdvisedWhereItIsTheLimit) {
  auto compute = kGpu;
  compute.memory = 72 * kGiB;
  const auto message = [&](std::int64_t device) {
    return message_of<Error>([&] {
      plan_run(llama_70b(), compute, {.calibration_tokens = 1 << 24}, {device, 512 * kGiB});
    });
  };
  EXPECT_NE(message(72 * kGiB * 92 / 100).find("or a larger --memory"), std::string::npos);
  EXPECT_NE(message(50 * kGiB).find("or a larger machine"), std::string::npos);
}

// Quantized blocks have no file to be read from. They stay on the device where the work has room beside them.
TEST(MemoryPlan, QuantizedBlocksNeedRoomInHostMemory) {
  const auto plan = [](std::int64_t device, std::int64_t host, std::int64_t tokens) {
    return plan_run(llama_7b(), kGpu, {.calibration_tokens = tokens}, {device, host});
  };
  EXPECT_EQ(plan(16 * kGiB, 8 * kGiB, 32 * 2048).quantized, Residence::host);
  EXPECT_EQ(plan(18 * kGiB, 4 * kGiB, 2048).quantized, Residence::device);
  const auto message = message_of<Error>([&] { plan(16 * kGiB, 4 * kGiB, 32 * 2048); });
  EXPECT_NE(message.find("which need 12.6 GiB of host memory to be free, and 6.7 GiB are"), std::string::npos)
      << message;
  EXPECT_NE(message.find("use fewer or shorter rows of text (--samples, --tokens), or a larger machine"),
            std::string::npos)
      << message;
}

// Rows of 512 tokens: a cache of 256 MiB each and 9.5 MiB that a step takes besides.
RunNeeds needs_of_rows(std::int64_t rows, std::int64_t tokens) {
  return {.calibration_tokens = rows * tokens, .row_tokens = tokens, .written_row_tokens = tokens};
}

// 22 GiB, of which the plan takes 92 %: a card of 24 GB.
constexpr AvailableMemory kSmallCard = {22 * kGiB * 92 / 100, 64 * kGiB};

TEST(MemoryPlan, WhileTheTextIsWrittenOnlyTheFloatBlocksAreNeeded) {
  auto needs = needs_of_rows(128, 512);
  needs.corrects_drift = true;
  const auto plan = plan_run(llama_7b(), kGpu, needs, kSmallCard);
  EXPECT_EQ(plan.passes, Residence::host);
  EXPECT_EQ(plan.quantized, Residence::host);
  EXPECT_TRUE(plan.writing.brings_blocks);
  // 20.24 GiB without embedding and head in both types, 1.46 GiB, and without the blocks in bf16, 12.06 GiB.
  EXPECT_EQ(plan.writing.workspace, kSmallCard.device - kOutside * 6 - kBlocks * 2);
  EXPECT_NEAR(static_cast<double>(plan.writing.workspace) / kGiB, 6.71, 0.01);
  EXPECT_NE(describe(plan.writing).find("6.7 GiB for its rows"), std::string::npos) << describe(plan.writing);

  // The command `tweak` has loaded the quantized model: its embedding and head; its blocks are in host memory.
  needs.quantized_is_loaded = true;
  needs.packed_head_bytes = 1000;
  const auto tweak = plan_run(llama_7b(), kGpu, needs, kSmallCard);
  EXPECT_EQ(tweak.quantized, Residence::host);
  EXPECT_TRUE(tweak.writing.brings_blocks);
  EXPECT_EQ(tweak.writing.workspace, plan.writing.workspace - kOutside * 6 - 1000);
}

struct WritingCase {
  const char* name;
  Compute compute;
  std::int64_t device, row_tokens;
  bool brings_blocks;
  std::int64_t taken;  // of the device, before the text is written
};

TEST(MemoryPlan, BlocksAreBroughtForTheWritingWhereAFewRowsFitBesideThem) {
  constexpr std::int64_t kStreamed = kOutside * 6 + 3 * kBlock * 2, kOnDevice = kOutside * 6 + kBlocks * 2;
  const WritingCase cases[] = {
      {"there anyway", kGpu, 55 * kGiB, 512, false, kOnDevice},
      {"F32 blocks are there, too", kGpu, 300 * kGiB, 512, false, kOnDevice + kBlocks * 4},
      {"quantized ones leave them no room, but come later", kGpu, 20 * kGiB, 512, true, kOnDevice},
      // 1.3 GiB are left beside the blocks: more than a sixteenth, five rows of 512 tokens, and one of 2048.
      {"1.3 GiB for rows", kGpu, kOnDevice + kGiB * 13 / 10, 512, true, kOnDevice},
      {"not for two rows", kGpu, kOnDevice + kGiB * 13 / 10, 2048, false, kStreamed},
      {"less than a sixteenth", kGpu, kOnDevice + kGiB * 8 / 10, 512, false, kStreamed},
      {"a CPU", kCpu, 22 * kGiB, 512, true, kOnDevice},
      {"a CPU with less", kCpu, 35 * kGiB / 2, 512, false, kStreamed},
      {"a CPU in F32", kCpuF32, 34 * kGiB, 512, true, kOutside * 4 + kBlocks * 4},
  };
  for (const auto& row : cases) {
    SCOPED_TRACE(row.name);
    const auto plan = plan_run(llama_7b(), row.compute, needs_of_rows(2048 / row.row_tokens, row.row_tokens),
                               {row.device, 64 * kGiB});
    EXPECT_EQ(plan.writing.brings_blocks, row.brings_blocks);
    EXPECT_EQ(plan.writing.workspace, row.device - row.taken);
    EXPECT_TRUE(row.brings_blocks || plan.writing.workspace >= plan.workspace);
    EXPECT_EQ(describe(plan.writing).empty(), !row.brings_blocks);
  }
}

// Rows that are written between two passes of the tweak share the work's memory, of which an eighth is left to what it
// keeps; blocks that come to the device take their part of it, less that of three which are streamed.
TEST(MemoryPlan, BetweenPassesTheRestOfTheRunStays) {
  constexpr std::int64_t kBrought = kBlocks * 2 - 3 * kBlock * 2;
  const std::pair<std::int64_t, bool> cases[] = {{60 * kGiB, false}, {29 * kGiB, true}, {14 * kGiB, false}};
  for (const auto& [device, brings_blocks] : cases) {
    SCOPED_TRACE(device / kGiB);
    const auto plan = plan_run(llama_7b(), kGpu, needs_of_rows(4, 512), {device, 64 * kGiB});
    const auto& writing = plan.writing_in_training;
    EXPECT_EQ(plan.passes, device > 50 * kGiB ? Residence::device : Residence::host);
    EXPECT_EQ(writing.brings_blocks, brings_blocks);
    EXPECT_EQ(writing.workspace, plan.workspace - plan.workspace / 8 - (brings_blocks ? kBrought : 0));
  }
}

// Of 70 thousand million weights no card of 80 GB holds the blocks. All that streamed blocks leave is for the rows.
TEST(MemoryPlan, WhereBlocksAreStreamedTheRowsGetTheRest) {
  constexpr std::int64_t kLargeBlock = 2 * 8192 * 8192 + 2 * 8192 * 1024 + std::int64_t{3} * 8192 * 28672,
                         kLargeOutside = std::int64_t{2} * 32000 * 8192;
  const AvailableMemory available = {80 * kGiB * 92 / 100, 300 * kGiB};
  const auto plan = plan_run(llama_70b(), kGpu, needs_of_rows(128, 512), available);
  EXPECT_EQ(plan.passes, Residence::host);
  EXPECT_FALSE(plan.writing.brings_blocks);
  EXPECT_EQ(plan.writing.workspace, available.device - kLargeOutside * 6 - 3 * kLargeBlock * 2);
  EXPECT_GT(plan.writing.workspace, plan.workspace);
}

// Nine tenths of the workspace, shared out by 265.5 MiB a row (70B: 160 MiB of cache and 18 MiB of a step), in batches
// of one size.
TEST(MemoryPlan, BatchesFollowFromIt) {
  const auto rows = [](const model::Checkpoint& checkpoint, std::int64_t workspace) {
    model::Decoder decoder;
    decoder.config = checkpoint.numbers;
    decoder.device = kGpu.device;
    decoder.type = kGpu.type;
    decoder.workspace = workspace;
    model::GenerationOptions options;
    options.samples = 128;
    options.tokens = 512;
    return rows_in_batch(decoder, options, 1);
  };
  const auto written = [&](const model::Checkpoint& checkpoint, const AvailableMemory& available) {
    return rows(checkpoint, plan_run(checkpoint, kGpu, needs_of_rows(128, 512), available).writing.workspace);
  };
  EXPECT_EQ(written(llama_7b(), kSmallCard), 22);              // 6.71 GiB: 23 fit, which makes six batches
  EXPECT_EQ(written(llama_7b(), {14 * kGiB, 64 * kGiB}), 32);  // streamed, 11.4 GiB: 39 fit, four batches
  EXPECT_EQ(written(llama_70b(), {80 * kGiB * 92 / 100, 300 * kGiB}), 128);  // streamed, 65.9 GiB: all at once
}

// The same decision for a model that is loaded only to write.
TEST(MemoryPlan, TheCommandThatOnlyWritesNeedsLittleBesideTheBlocks) {
  const auto weights = (kOutside + kBlocks) * 2;
  const auto model = llama_7b();
  const auto plan = [&](std::int64_t left, std::int64_t row_tokens) {
    return plan_writing(model, kGpu, row_tokens, {weights + left, 64 * kGiB});
  };
  EXPECT_EQ(plan(kGiB, 512).residence, Residence::device);
  EXPECT_EQ(plan(kGiB, 512).workspace, kGiB);
  EXPECT_EQ(plan(kGiB, 2048).residence, Residence::host);
  EXPECT_EQ(plan(kGiB / 2, 512).residence, Residence::host);
  EXPECT_EQ(plan_models({&model}, kGpu, {weights + kGiB, 64 * kGiB}).residence, Residence::host);
}

TEST(MemoryPlan, ModelsThatAreOnlyRunStayWhereTheyFit) {
  const auto model = llama_7b();
  struct Case {
    const char* name;
    std::vector<const model::Checkpoint*> models;
    AvailableMemory available;
    Residence residence;
  };
  const Case cases[] = {
      {"one", {&model}, {24 * kGiB, 64 * kGiB}, Residence::device},
      {"two do not", {&model, &model}, {24 * kGiB, 64 * kGiB}, Residence::host},
      {"nor in host memory", {&model, &model}, {24 * kGiB, 16 * kGiB}, Residence::file},
      {"one in little", {&model}, {8 * kGiB, 64 * kGiB}, Residence::host},
  };
  for (const auto& row : cases) {
    SCOPED_TRACE(row.name);
    const auto options = plan_models(row.models, kGpu, row.available);
    EXPECT_EQ(options.residence, row.residence);
    EXPECT_EQ(describe(options).empty(), row.residence == Residence::device);
    const auto blocks = row.residence == Residence::device ? kBlocks : 3 * kBlock;
    EXPECT_EQ(options.workspace,
              row.available.device - static_cast<std::int64_t>(row.models.size()) * 2 * (kOutside + blocks));
  }
  EXPECT_THROW(plan_models({&model}, kGpu, {kGiB, kGiB}), Error);
}

TEST(MemoryPlan, TheOptionIsACap) {
  auto compute = kCpu;
  const auto all = available_memory(compute).device;
  compute.memory = std::int64_t{100} << 20;
  EXPECT_LT(available_memory(compute).device, compute.memory);
  compute.memory = std::int64_t{1} << 60;
  EXPECT_EQ(available_memory(compute).device, all);
}

// Four processes, two of them on this machine.
class TwoOfFour : public Transport {
 public:
  int rank() const override { return 0; }
  int size() const override { return 4; }
  int on_machine() const override { return 2; }
  c10::Device device() const override { return at::kCPU; }
  void all_reduce_sum(at::Tensor) override {}
  void broadcast(at::Tensor, int) override {}
};

TEST(MemoryPlan, ProcessesShareTheMachine) {
  auto compute = kCpu;
  const auto alone = available_memory(compute);
  compute.processes = Processes(std::make_shared<TwoOfFour>());
  const auto shared = available_memory(compute);
  EXPECT_NEAR(static_cast<double>(shared.device), static_cast<double>(alone.device) / 2, 2);
  // What other programs take changes from one look to the next.
  EXPECT_NEAR(static_cast<double>(shared.host) / static_cast<double>(alone.host), 0.5, 0.1);
  EXPECT_EQ(tweak::TeacherStates::share_of_memory(compute.processes), tweak::TeacherStates::share_of_memory({}) / 2);
}

}  // namespace
}  // namespace normtweak::pipeline
