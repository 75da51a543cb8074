// Where blocks lie, and how they come to a device. The "device" of the streamed stores here is the CPU, with real
// copies, so that everything but the streams themselves is tested everywhere.
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/zeros.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <gtest/gtest.h>

#include <vector>

#include "normtweak/model/activations.h"
#include "normtweak/model/decoder.h"
#include "normtweak/model/forward_pass.h"
#include "support/devices.h"
#include "support/tiny_decoder.h"

namespace normtweak::model {
namespace {

using tests::tiny_decoder, tests::Weights;

Block numbered_block(int index) {
  Block block;
  block.index = index;
  return block;
}

TEST(BlockStore, KeepsBlocksOrReadsThemAgain) {
  for (const auto residence : {Residence::device, Residence::host, Residence::file}) {
    int loads = 0;
    BlockStore store(3, residence, [&](int index) {
      ++loads;
      return numbered_block(index);
    });
    EXPECT_EQ(store.size(), 3);
    EXPECT_EQ(loads, 0);
    EXPECT_EQ(store.get(2)->index, 2);
    EXPECT_EQ(store.get(2)->index, 2);
    EXPECT_EQ(loads, residence == Residence::file ? 2 : 1);
    const auto other = std::make_shared<const Block>();
    auto copy = store;
    copy.put(2, other);
    EXPECT_EQ(copy.get(2), other);   // without a streamer, where it lies is where it is used
    EXPECT_NE(store.get(2), other);  // copies share blocks, not what is put in later
    EXPECT_THROW(store.get(3), std::out_of_range);
  }
}

TEST(NextBlock, FollowsTheDirection) {
  struct Asked {
    const char* name;
    std::vector<int> indices, next;
  };
  const Asked cases[] = {
      {"two passes", {0, 1, 2, 3, 0, 1, 2}, {1, 2, 3, -1, 1, 2, 3}},
      {"forward and back", {0, 1, 2, 3, 3, 2, 1, 0, 0, 1}, {1, 2, 3, -1, 2, 1, 0, -1, 1, 2}},
      {"each one twice, as a recomputed block is", {0, 0, 1, 1, 2, 2, 3}, {1, 1, 2, 2, 3, 3, -1}},
      {"back without the last one again", {2, 3, 2, 1}, {3, -1, 1, 0}},
  };
  for (const auto& row : cases) {
    SCOPED_TRACE(row.name);
    NextBlock next;
    for (std::size_t i = 0; i < row.indices.size(); ++i) EXPECT_EQ(next.after(row.indices[i], 4), row.next[i]) << i;
  }
}

// A decoder whose blocks lie in host memory and are copied to be used.
struct Streamed {
  explicit Streamed(const Decoder& original, Residence residence = Residence::host)
      : streamer(std::make_shared<BlockStreamer>(at::kCPU)), decoder(original) {
    decoder.blocks = BlockStore(
        original.blocks.size(), residence, [blocks = original.blocks](int index) { return *blocks.get(index); },
        streamer);
  }
  std::shared_ptr<BlockStreamer> streamer;
  Decoder decoder;
};

TEST(BlockStore, EveryResidenceGivesTheSameBits) {
  const c10::NoGradGuard no_gradients;
  for (const auto weights : {Weights::floats, Weights::groups, Weights::codebook, Weights::nested}) {
    const auto original = tests::quantized(tiny_decoder({.biases = true, .layers = 4}), weights);
    const auto ids = tests::random_ids(original, 2, 10);
    const auto expected = last_hidden_state(original, ids);
    for (const auto residence : {Residence::device, Residence::host, Residence::file}) {
      const Streamed streamed(original, residence);
      for (int pass = 0; pass < 2; ++pass) EXPECT_TRUE(last_hidden_state(streamed.decoder, ids).equal(expected));
      EXPECT_EQ(bits_per_weight(streamed.decoder), bits_per_weight(original));
    }
  }
}

TEST(BlockStore, CopiesEachBlockOnceAPassAndAheadOfItsUse) {
  const auto original = tiny_decoder({.layers = 4});
  const Streamed streamed(original);
  const auto& blocks = streamed.decoder.blocks;
  const auto ask = [&](const std::vector<int>& indices) {
    for (const int index : indices) blocks.stored(index);
    for (const int index : indices) EXPECT_EQ(blocks.get(index)->index, index);
  };
  ask({0, 1, 2, 3, 3, 2, 1, 0});                      // forward and back
  EXPECT_EQ(streamed.streamer->counts().uploads, 7);  // the last one serves twice
  EXPECT_EQ(streamed.streamer->counts().ahead, 6);
  ask({0, 1, 2, 3});
  EXPECT_EQ(streamed.streamer->counts().uploads, 10);
  EXPECT_EQ(streamed.streamer->counts().useless, 0);
  ask({1});  // out of order: nothing was begun for it, and block 0 or 2 is begun after it
  EXPECT_EQ(streamed.streamer->counts().uploads, 12);
  ask({3});
  EXPECT_EQ(streamed.streamer->counts().useless, 1);
}

TEST(BlockStore, HoldsTwoBlocksOnTheDevice) {
  const auto original = tiny_decoder({.layers = 5});
  const Streamed streamed(original);
  std::vector<std::weak_ptr<const Block>> handed_out;
  for (int i = 0; i < 5; ++i) streamed.decoder.blocks.stored(i);
  for (int i = 0; i < 5; ++i) {
    handed_out.push_back(streamed.decoder.blocks.get(i));
    for (int before = 0; before < i; ++before) {
      EXPECT_TRUE(handed_out[static_cast<std::size_t>(before)].expired()) << before << " at " << i;
    }
  }
}

TEST(BlockStore, BlocksAreBroughtToTheDeviceForAWhile) {
  const c10::NoGradGuard no_gradients;
  const auto original = tiny_decoder({.layers = 4});
  const auto ids = tests::random_ids(original, 2, 10);
  const auto expected = last_hidden_state(original, ids);
  for (const auto residence : {Residence::host, Residence::file}) {
    const Streamed streamed(original, residence);
    std::vector<std::weak_ptr<const Block>> brought;
    {
      auto whole = streamed.decoder;
      whole.blocks = streamed.decoder.blocks.brought_to_device();
      for (int pass = 0; pass < 3; ++pass) EXPECT_TRUE(last_hidden_state(whole, ids).equal(expected));
      EXPECT_TRUE(whole.blocks.all_on_device());
      for (int i = 0; i < 4; ++i) brought.emplace_back(whole.blocks.get(i));
    }
    EXPECT_EQ(streamed.streamer->counts().uploads, residence == Residence::host ? 4 : 0);
    for (const auto& block : brought) EXPECT_TRUE(block.expired());
    EXPECT_FALSE(streamed.decoder.blocks.all_on_device());
    EXPECT_TRUE(last_hidden_state(streamed.decoder, ids).equal(expected));
  }
}

TEST(BlockStore, ReleasesTheCopiesOnTheDevice) {
  const Streamed streamed(tiny_decoder({.layers = 3}));
  const auto& blocks = streamed.decoder.blocks;
  for (int i = 0; i < 3; ++i) blocks.stored(i);
  const std::weak_ptr<const Block> used = blocks.get(0);
  EXPECT_FALSE(used.expired());
  EXPECT_EQ(streamed.streamer->counts().uploads, 2);  // and the next
  blocks.release_copies();
  EXPECT_TRUE(used.expired());
  EXPECT_EQ(blocks.get(0)->index, 0);
  EXPECT_EQ(streamed.streamer->counts().uploads, 4);
  BlockStore(1, Residence::device, numbered_block).release_copies();  // has none
}

TEST(BlockStore, WhatIsUsedIsACopyOfWhatLiesInHostMemory) {
  const Streamed streamed(tiny_decoder());
  const auto used = streamed.decoder.blocks.get(1), stored = streamed.decoder.blocks.stored(1);
  EXPECT_TRUE(find(*used, NormRole::attention)->weight.equal(find(*stored, NormRole::attention)->weight));
  EXPECT_FALSE(find(*used, NormRole::attention)->weight.is_alias_of(find(*stored, NormRole::attention)->weight));
  EXPECT_FALSE(streamed.decoder.blocks.all_on_device());
}

TEST(BlockStore, PutBlocksGoToHostMemoryAndShareWhatDidNotChange) {
  Streamed streamed(tests::quantized(tiny_decoder(), Weights::groups));
  auto& blocks = streamed.decoder.blocks;
  const auto codes = [](const Block& block) {
    return std::get<weights::AffineWeight>(find(block, LinearRole::up)->weight).codes;
  };
  auto tweaked = *blocks.get(0);
  find(tweaked, NormRole::mlp)->weight = find(tweaked, NormRole::mlp)->weight * 2;
  auto copy = streamed.decoder;
  copy.blocks.put(0, std::make_shared<const Block>(tweaked));
  EXPECT_TRUE(find(*copy.blocks.get(0), NormRole::mlp)->weight.equal(find(tweaked, NormRole::mlp)->weight));
  EXPECT_FALSE(find(*blocks.get(0), NormRole::mlp)->weight.equal(find(tweaked, NormRole::mlp)->weight));
  // In host memory, where each is packed: of the block that was used last.
  const auto on_host = [&](const BlockStore& store) { return codes(*streamed.streamer->to_host(*store.get(0))); };
  EXPECT_TRUE(on_host(copy.blocks).is_same(on_host(blocks)));
  EXPECT_EQ(on_host(blocks).scalar_type(), at::kInt);
  EXPECT_FALSE(find(*copy.blocks.stored(0), NormRole::mlp)->weight.is_alias_of(find(tweaked, NormRole::mlp)->weight));
}

const at::Tensor& codes_of(const weights::Weight& weight) {
  const auto* affine = std::get_if<weights::AffineWeight>(&weight);
  return affine != nullptr ? affine->codes : std::get<weights::CodebookWeight>(weight).codes;
}

// A linear with random codes of so many bits, affine in block 0 and into a codebook in others.
Block coded_block(int index, std::int64_t columns, int bits) {
  auto block = numbered_block(index);
  const auto codes = at::randint(std::int64_t{1} << bits, {6, columns}, at::kByte);
  weights::Weight weight =
      weights::AffineWeight{.codes = codes, .scales = at::ones({6, 1}), .zeros = at::zeros({6, 1}), .bits = bits};
  if (index > 0) weight = weights::CodebookWeight{.codes = codes, .codebook = at::ones({6, 1 << bits}), .bits = bits};
  block.linears.push_back({.role = LinearRole::up, .linear = {.weight = weight}});
  return block;
}

// Bytes of a block's codes in host memory; 0 if they were packed and did not come back as they were.
std::size_t packed_bytes(std::int64_t columns, int bits, c10::Device device, int index = 0) {
  const auto original = coded_block(index, columns, bits);
  const auto& expected = codes_of(original.linears[0].linear.weight);
  const auto streamer = std::make_shared<BlockStreamer>(device);
  const BlockStore store(
      1, Residence::host, [&](int) { return original; }, streamer);
  const auto outlined = codes_of(store.outlined(0).linears[0].linear.weight);
  EXPECT_EQ(outlined.sizes(), expected.sizes());
  EXPECT_TRUE(outlined.is_meta());
  EXPECT_TRUE(codes_of(store.weight(0, 0)).equal(expected));
  const auto used = store.get(0), stored = store.stored(0);
  const auto& on_device = codes_of(used->linears[0].linear.weight);
  EXPECT_EQ(on_device.device().type(), device.type());
  const bool same = on_device.cpu().equal(expected) && codes_of(stored->linears[0].linear.weight).equal(expected);
  return same ? codes_of(streamer->to_host(*used)->linears[0].linear.weight).nbytes() : 0;
}

TEST(BlockStore, CodesArePackedInHostMemory) {
  for (const auto& device : test::devices()) {
    SCOPED_TRACE(device.str());
    EXPECT_EQ(packed_bytes(64, 2, device), 6 * 16U);
    EXPECT_EQ(packed_bytes(64, 3, device), 6 * 24U);
    EXPECT_EQ(packed_bytes(64, 4, device), 6 * 32U);
    EXPECT_EQ(packed_bytes(64, 6, device), 6 * 48U);
    EXPECT_EQ(packed_bytes(64, 3, device, /*index=*/1), 6 * 24U);
    EXPECT_EQ(packed_bytes(64, 8, device), 6 * 64U);
    EXPECT_EQ(packed_bytes(44, 4, device), 6 * 44U);  // 176 bits a row are no whole words: a byte each
  }
}

TEST(BlockStore, NewBlocksMayStayOnTheDevice) {
  Streamed streamed(tiny_decoder());
  auto& blocks = streamed.decoder.blocks;
  blocks.keep_new(Residence::device);
  for (int i = 0; i < 2; ++i) {
    const auto block = std::make_shared<const Block>(*blocks.get(i));
    blocks.put(i, block);
    EXPECT_EQ(blocks.get(i), block);
  }
  EXPECT_TRUE(blocks.all_on_device());
}

// Each block is one tensor of equal numbers. A copy that comes too late, or into memory that is still read, leaves
// other numbers in the sum.
TEST(BlockStore, StreamsToAGpuInStepWithItsWork) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU here";
  const c10::Device gpu(at::kCUDA, 0);
  const int blocks = 6, rounds = 5;
  const std::int64_t floats = std::int64_t{16} << 20, bytes = floats * 4;
  for (const bool deterministic : {false, true}) {  // then torch fills memory when it is taken
    at::globalContext().setDeterministicAlgorithms(deterministic, /*warn_only=*/true);
    auto sum = at::zeros({floats}, at::TensorOptions(at::kFloat).device(gpu));
    const BlockStore store(
        blocks, Residence::host,
        [&](int index) {
          auto block = numbered_block(index);
          block.norms.push_back({.role = NormRole::mlp, .norm = {.weight = at::full({floats}, index + 1.0F)}});
          return block;
        },
        std::make_shared<BlockStreamer>(gpu));
    for (int i = 0; i < blocks; ++i) EXPECT_TRUE(find(*store.stored(i), NormRole::mlp)->weight.is_pinned());
    auto* allocator = c10::getDeviceAllocator(at::kCUDA);
    constexpr auto kAll = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    const auto before = allocator->getDeviceStats(0).allocated_bytes.at(kAll).current;
    allocator->resetPeakStats(0);
    const auto add = [&](int index) {
      for (int again = 0; again < 4; ++again) sum.add_(find(*store.get(index), NormRole::mlp)->weight, index + 1.0F);
    };
    for (int round = 0; round < rounds; ++round) {
      for (int i = 0; i < blocks; ++i) add(i);
      for (int i = blocks; i-- > 0;) add(i);
    }
    const double expected = rounds * 2 * 4 * (1 + 4 + 9 + 16 + 25 + 36);
    const auto taken = allocator->getDeviceStats(0).allocated_bytes.at(kAll).peak - before;
    EXPECT_LE(taken, 2 * bytes + (1 << 20));
    EXPECT_TRUE(sum.eq(expected).all().item<bool>()) << sum.min().item<float>() << " to " << sum.max().item<float>();
  }
  at::globalContext().setDeterministicAlgorithms(false, false);
}

TEST(Decoder, WidenedBlocksHoldTheSameValuesInF32) {
  auto half = tiny_decoder();
  for (int i = 0; i < half.blocks.size(); ++i) {
    half = tests::with_block(half, i, [](Block& block) {
      for (auto& part : block.linears) {
        part.linear.weight = weights::FloatWeight{weights::dequantize(part.linear.weight).to(at::kBFloat16)};
      }
    });
  }
  const auto widened = widened_blocks(half).get(1);
  const auto block = half.blocks.get(1);
  for (std::size_t i = 0; i < widened->linears.size(); ++i) {
    const auto values = weights::dequantize(widened->linears[i].linear.weight);
    EXPECT_EQ(values.scalar_type(), at::kFloat);
    EXPECT_TRUE(values.equal(weights::dequantize(block->linears[i].linear.weight).to(at::kFloat)));
  }
}

TEST(Decoder, RowsInOnePassFitHalfTheWorkspace) {
  auto decoder = tiny_decoder();
  EXPECT_EQ(rows_in_one_pass(decoder, 8, 64), 8);  // no limit
  decoder.workspace = 1;
  EXPECT_EQ(rows_in_one_pass(decoder, 8, 64), 1);  // a row at least
  decoder.workspace = 2 * pass_bytes(decoder.config, at::kCPU, at::kFloat) * 8 * 3;
  EXPECT_EQ(rows_in_one_pass(decoder, 8, 64), 3);
}

}  // namespace
}  // namespace normtweak::model
