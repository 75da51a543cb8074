// A run's float model writes its text: the same rows wherever its blocks are meanwhile, and nothing stays behind.
#include <gtest/gtest.h>

#include <memory>

#include "normtweak/pipeline/write_text.h"
#include "support/tiny_decoder.h"

namespace normtweak::pipeline {
namespace {

constexpr int kLayers = 4, kTokens = 12;

// The blocks are in host memory, and the device is the CPU: copies are real.
struct HostModel {
  explicit HostModel(const WritingMemory& writing) {
    const auto whole = tests::tiny_decoder({.layers = kLayers});
    floats.checkpoint.path = "tiny";
    floats.checkpoint.config = Json::object();
    floats.checkpoint.numbers = whole.config;
    floats.exact = floats.passes = whole;
    floats.passes.blocks = model::BlockStore(
        kLayers, model::Residence::host, [blocks = whole.blocks](int index) { return *blocks.get(index); }, streamer);
    for (int i = 0; i < kLayers; ++i) floats.passes.blocks.stored(i);
    floats.writing = writing;
  }
  std::shared_ptr<model::BlockStreamer> streamer = std::make_shared<model::BlockStreamer>(at::kCPU);
  FloatModel floats;
};

calibrate::TextOptions rows_of(std::int64_t samples, std::int64_t batch) {
  calibrate::TextOptions options;
  options.strategy = "llm-qat";
  options.samples = samples;
  options.tokens = kTokens;
  options.batch = batch;
  options.seed = 3;
  return options;
}

TEST(WriteRows, AreTheSameWhereverTheBlocksAre) {
  const auto options = rows_of(6, 3);
  const auto write = [&](const FloatModel& floats) {
    return write_rows(floats, floats.writing, options, silent_progress(), {}).ids;
  };
  auto whole = HostModel({}).floats;
  whole.passes = whole.exact;
  const auto expected = write(whole);
  EXPECT_EQ(expected.sizes(), (at::IntArrayRef{6, kTokens}));

  const HostModel streamed({.brings_blocks = false});
  EXPECT_TRUE(write(streamed.floats).equal(expected));
  // Each step but the last writes a token of all rows: two batches of 11 steps bring every block.
  EXPECT_EQ(streamed.streamer->counts().uploads, 2 * (kTokens - 1) * kLayers);

  const HostModel brought({.brings_blocks = true});
  EXPECT_TRUE(write(brought.floats).equal(expected));
  EXPECT_EQ(brought.streamer->counts().uploads, kLayers);
  EXPECT_TRUE(write(brought.floats).equal(expected));  // in the middle of a run, say
  EXPECT_EQ(brought.streamer->counts().uploads, 2 * kLayers);
}

TEST(WriteRows, LeaveTheBlocksWhereTheRunKeepsThem) {
  for (const bool brings_blocks : {false, true}) {
    const HostModel model({.brings_blocks = brings_blocks});
    const auto& blocks = model.floats.passes.blocks;
    const std::weak_ptr<const model::Block> used = blocks.get(kLayers - 1);
    write_rows(model.floats, model.floats.writing, rows_of(2, 2), silent_progress(), {});
    EXPECT_TRUE(used.expired());
    EXPECT_FALSE(blocks.all_on_device());
    const auto uploads = model.streamer->counts().uploads;
    blocks.get(kLayers - 1);
    EXPECT_GT(model.streamer->counts().uploads, uploads);  // no copy was left
  }
}

TEST(WriteRows, IdsDrawnAtRandomNeedNoBlocks) {
  const HostModel model({.brings_blocks = true});
  auto options = rows_of(2, 2);
  options.strategy = "random-tokens";
  write_rows(model.floats, model.floats.writing, options, silent_progress(), {});
  EXPECT_EQ(model.streamer->counts().uploads, 0);
}

// On a CPU a batch takes at most half of the workspace: here that of the writing, not that of the run.
TEST(WriteRows, TheRowsOfABatchFollowFromTheMemoryForWriting) {
  const HostModel ample({});
  auto little = HostModel({.brings_blocks = false, .workspace = 1});
  little.floats.passes.workspace = std::int64_t{1} << 30;
  write_rows(ample.floats, ample.floats.writing, rows_of(3, 0), silent_progress(), {});
  write_rows(little.floats, little.floats.writing, rows_of(3, 0), silent_progress(), {});
  EXPECT_EQ(ample.streamer->counts().uploads, (kTokens - 1) * kLayers);
  EXPECT_EQ(little.streamer->counts().uploads, 3 * (kTokens - 1) * kLayers);  // one row at a time
}

}  // namespace
}  // namespace normtweak::pipeline
