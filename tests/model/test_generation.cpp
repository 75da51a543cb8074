#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Generator.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "normtweak/base/error.h"
#include "normtweak/model/activations.h"
#include "normtweak/model/forward_pass.h"
#include "normtweak/model/generation.h"
#include "normtweak/model/head.h"
#include "support/counted_memory.h"
#include "support/tiny_decoder.h"

namespace normtweak::model {
namespace {

using tests::tiny_decoder;

at::Generator generator_of(std::uint64_t seed) {
  auto generator = at::globalContext().defaultGenerator(at::kCPU).clone();
  generator.set_current_seed(seed);
  return generator;
}

struct SamplingCase {
  const char* name;
  SamplingOptions options;
  std::map<std::int64_t, double> expected;  // id → probability
};

TEST(Sample, DrawsFromTheTruncatedDistribution) {
  // Probabilities of ids 0 to 4 at temperature 1; not in order of size.
  const std::vector<double> p = {0.1, 0.4, 0.05, 0.25, 0.2};
  const SamplingCase cases[] = {
      {"everything", {.top_k = 0}, {{0, .1}, {1, .4}, {2, .05}, {3, .25}, {4, .2}}},
      {"k of the vocabulary's size", {.top_k = 5}, {{0, .1}, {1, .4}, {2, .05}, {3, .25}, {4, .2}}},
      {"top 1", {.top_k = 1}, {{1, 1}}},
      {"top 2", {.top_k = 2}, {{1, .4 / .65}, {3, .25 / .65}}},
      {"p below the likeliest", {.top_k = 0, .top_p = 0.1}, {{1, 1}}},
      {"p 0.7: three tokens reach it", {.top_k = 0, .top_p = 0.7}, {{1, .4 / .85}, {3, .25 / .85}, {4, .2 / .85}}},
      {"p within top 2", {.top_k = 2, .top_p = 0.5}, {{1, 1}}},
      {"temperature 1/2 squares", {.temperature = 0.5, .top_k = 2}, {{1, .16 / .2225}, {3, .0625 / .2225}}},
      {"temperature 2 takes roots", {.temperature = 2, .top_k = 2}, {{1, .632456 / 1.132456}, {3, .5 / 1.132456}}},
  };
  constexpr std::int64_t rows = 20000;
  const auto logits = (at::tensor(p, at::kFloat).log() + 3).expand({rows, 5});
  for (const auto& row : cases) {
    SCOPED_TRACE(row.name);
    const auto drawn = sample(logits, row.options, generator_of(5));
    ASSERT_EQ(drawn.sizes(), (at::IntArrayRef{rows}));
    for (std::int64_t id = 0; id < 5; ++id) {
      const auto share = drawn.eq(id).to(at::kDouble).mean().item<double>();
      const auto expected = row.expected.contains(id) ? row.expected.at(id) : 0;
      // Five standard errors; what is cut off never comes.
      EXPECT_NEAR(share, expected, 5 * std::sqrt(expected * (1 - expected) / rows)) << "id " << id;
    }
  }
}

GenerationOptions options_for(const Decoder& decoder) {
  GenerationOptions options;
  options.samples = 6;
  options.tokens = 20;
  for (std::int64_t id = 10; id < decoder.config.vocabulary; ++id) options.first_tokens.push_back(id);
  options.never = {0, 1, 2};
  options.seed = 3;
  return options;
}

TEST(Generate, IsRepeatable) {
  for (const bool llama : {true, false}) {
    const auto decoder = tiny_decoder({.llama = llama});
    auto options = options_for(decoder);
    const auto once = generate(decoder, options, silent_progress());
    EXPECT_EQ(once.sizes(), (at::IntArrayRef{6, 20}));
    EXPECT_TRUE(once.equal(generate(decoder, options, silent_progress())));
    EXPECT_FALSE(once.lt(3).any().item<bool>());                // `never`
    EXPECT_FALSE(once.select(1, 0).lt(10).any().item<bool>());  // `first_tokens`
    options.seed = 4;
    EXPECT_FALSE(once.equal(generate(decoder, options, silent_progress())));
  }
}

TEST(Generate, BatchesOfRowsAreDrawnApart) {
  const auto decoder = tiny_decoder();
  auto options = options_for(decoder);
  options.batch = 2;
  const auto ids = generate(decoder, options, silent_progress());
  EXPECT_EQ(ids.size(0), 6);
  EXPECT_FALSE(ids.narrow(0, 0, 2).equal(ids.narrow(0, 2, 2)));
}

// LLaMA-7B in bf16 keeps half a MiB a token, a GiB for a row of 2048.
Decoder llama_7b(c10::Device device, std::int64_t workspace) {
  Decoder decoder;
  decoder.config.hidden = 4096;
  decoder.config.layers = 32;
  decoder.config.heads = 32;
  decoder.config.key_value_heads = 32;
  decoder.config.head_size = 128;
  decoder.config.intermediate = 11008;
  decoder.config.vocabulary = 32000;
  decoder.config.context = 2048;
  decoder.device = device;
  decoder.type = at::kBFloat16;
  decoder.workspace = workspace;
  return decoder;
}

TEST(Generate, TheMemoryThatIsFreeGivesTheRowsOfABatch) {
  constexpr std::int64_t kGiB = std::int64_t{1} << 30;
  const c10::Device gpu(at::kCUDA, 0);
  struct Case {
    const char* name;
    c10::Device device;
    std::int64_t workspace, samples;
    int processes;
    std::int64_t rows;
  };
  const Case cases[] = {
      {"all at once", gpu, 200 * kGiB, 128, 1, 128},
      {"two halves, not 108 and 20", gpu, 125 * kGiB, 128, 1, 64},
      {"three", gpu, 60 * kGiB, 128, 1, 43},
      {"a small card", gpu, 5 * kGiB, 128, 1, 4},
      {"less than a row", gpu, kGiB, 128, 1, 1},
      {"two processes", gpu, 125 * kGiB, 128, 2, 64},
      {"three processes", gpu, 40 * kGiB, 128, 3, 22},
      {"a CPU, whatever is free", at::kCPU, 64 * kGiB, 128, 1, 3},
      {"the same", at::kCPU, 500 * kGiB, 128, 1, 3},
      {"a CPU with little", at::kCPU, 5 * kGiB, 128, 1, 2},
      {"no limit", at::kCPU, std::numeric_limits<std::int64_t>::max(), 10, 1, 3},
  };
  for (const auto& row : cases) {
    SCOPED_TRACE(row.name);
    GenerationOptions options;
    options.samples = row.samples;
    options.tokens = 2048;
    EXPECT_EQ(rows_in_batch(llama_7b(row.device, row.workspace), options, row.processes), row.rows);
  }
}

// The tensors of a batch, counted.
TEST(Generate, ABatchTakesNoMoreThanEstimated) {
  for (const std::int64_t vocabulary : {50, 5000}) {
    for (const double top_p : {1.0, 0.9}) {
      const auto decoder = tiny_decoder({.vocabulary = vocabulary, .context = 64, .head_size = 16});
      auto options = options_for(decoder);
      options.tokens = 64;
      options.sampling.top_p = top_p;
      generate(decoder, options, silent_progress());  // fills the table of the rotary positions
      const tests::CountedMemory memory;
      generate(decoder, options, silent_progress());
      const auto row =
          cache_bytes(decoder.config, at::kFloat, 64) + sampling_bytes(decoder.config, at::kCPU, at::kFloat, 64);
      const auto ids = 64 * options.samples * 8 * 4 + 100 * vocabulary;  // the text so far, and lists of ids
      EXPECT_LE(memory.peak(), options.samples * row + ids) << vocabulary << " " << top_p;
      EXPECT_GE(memory.peak(), options.samples * row / 4);
    }
  }
}

TEST(Generate, GreedyTokensFollowTheFirst) {
  const auto decoder = tiny_decoder();
  auto options = options_for(decoder);
  options.never.clear();
  options.greedy_from = options.greedy_to = 4;
  options.prefix = {7};
  const auto ids = generate(decoder, options, silent_progress());
  EXPECT_TRUE(ids.select(1, 0).eq(7).all().item<bool>());
  const auto likeliest = logits(decoder, last_hidden_state(decoder, ids)).argmax(-1);
  const auto agrees = ids.narrow(1, 1, 19).eq(likeliest.narrow(1, 0, 19));  // [6, 19]: of ids 1 to 19
  EXPECT_TRUE(agrees.narrow(1, 1, 4).all().item<bool>());
  EXPECT_LT(agrees.narrow(1, 5, 14).to(at::kFloat).mean().item<float>(), 0.5F);
}

// Which ids stand where: after each end of a document comes the prefix, then one of the first tokens.
void expect_documents(const at::Tensor& ids, const GenerationOptions& options, int least) {
  const std::set<std::int64_t> ends(options.end_tokens.begin(), options.end_tokens.end()),
      starts(options.first_tokens.begin(), options.first_tokens.end());
  int restarts = 0;
  for (std::int64_t row = 0; row < ids.size(0); ++row) {
    std::size_t age = 0;
    for (std::int64_t i = 0; i < ids.size(1); ++i, ++age) {
      const auto id = ids[row][i].item<std::int64_t>();
      if (age < options.prefix.size()) {
        EXPECT_EQ(id, options.prefix[age]) << "row " << row << ", place " << i;
      } else if (age == options.prefix.size()) {
        EXPECT_TRUE(starts.contains(id)) << "row " << row << ", place " << i << ": " << id;
      } else if (ends.contains(id)) {
        ++restarts;
        age = static_cast<std::size_t>(-1);
      }
    }
  }
  EXPECT_GE(restarts, least);
}

TEST(Generate, ADocumentFollowsTheEndOfAnother) {
  const auto decoder = tiny_decoder({.vocabulary = 24, .context = 64});
  GenerationOptions options;
  options.samples = 8;
  options.tokens = 64;
  options.sampling.temperature = 3;
  options.first_tokens = {20, 21};
  options.end_tokens = {3, 4, 5};
  const std::vector<std::vector<std::int64_t>> prefixes = {{}, {1}, {1, 2}, {3}, {2, 3}};  // OPT begins with its end
  for (const auto& prefix : prefixes) {
    SCOPED_TRACE(prefix.size());
    options.prefix = prefix;
    expect_documents(generate(decoder, options, silent_progress()), options, 10);
  }
}

TEST(Generate, RefusesWhatCannotBe) {
  const auto decoder = tiny_decoder();
  const auto broken = [&](auto&& change) {
    auto options = options_for(decoder);
    change(options);
    EXPECT_THROW(generate(decoder, options, silent_progress()), Error);
  };
  broken([](auto& o) { o.tokens = 33; });
  broken([](auto& o) { o.tokens = 0; });
  broken([](auto& o) { o.samples = 0; });
  broken([](auto& o) { o.first_tokens.clear(); });
  broken([](auto& o) { o.sampling.temperature = 0; });
  broken([](auto& o) { o.sampling.temperature = std::numeric_limits<double>::quiet_NaN(); });
  broken([](auto& o) { o.sampling.top_p = 0; });
  broken([](auto& o) { o.sampling.top_p = 1.5; });
  broken([](auto& o) { o.sampling.top_k = -1; });
  auto damaged = decoder;
  damaged.final_norm.weight = at::full({16}, std::numeric_limits<float>::quiet_NaN());
  EXPECT_THROW(generate(damaged, options_for(decoder), silent_progress()), Error);
}

// In the middle of the second of three batches.
TEST(Generate, StopsAtTheNextStep) {
  const auto decoder = tiny_decoder();
  auto options = options_for(decoder);
  options.samples = 3;
  options.tokens = 9;
  options.batch = 1;
  const auto whole = generate(decoder, options, silent_progress());
  int asked = 0;
  options.stops = [&] { return ++asked > 12; };  // a row takes 8 steps
  const auto ids = generate(decoder, options, silent_progress());
  EXPECT_EQ(asked, 14);  // once more for the third
  EXPECT_TRUE(ids[0].equal(whole[0]));
  EXPECT_TRUE(ids.narrow(0, 1, 2).eq(0).all().item<bool>());
  EXPECT_FALSE(whole.narrow(0, 1, 2).eq(0).all().item<bool>());
}

}  // namespace
}  // namespace normtweak::model
