#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "normtweak/base/error.h"
#include "normtweak/evaluate/protocols.h"
#include "normtweak/evaluate/scores.h"
#include "support/explicit_model.h"
#include "support/temporary_folder.h"
#include "support/tiny_decoder.h"

namespace normtweak::evaluate {
namespace {

using tests::tiny_decoder;

struct WindowCase {
  std::int64_t found, context, max_tokens, windows;
};

TEST(GptqWindows, AreWholeAndDoNotOverlap) {
  const WindowCase cases[] = {{10, 4, 0, 2}, {10, 4, 100, 2}, {10, 4, 9, 2},  {10, 4, 7, 1},
                              {10, 4, 4, 1}, {8, 4, 0, 2},    {10, 10, 0, 1}, {2, 2, 0, 1}};
  for (const auto& row : cases) {
    std::vector<std::int64_t> ids(static_cast<std::size_t>(row.found));
    std::iota(ids.begin(), ids.end(), 100);
    const auto batch = gptq_windows(ids, row.context, row.max_tokens, "text");
    const auto expected = at::arange(100, 100 + row.windows * row.context).view({row.windows, row.context});
    EXPECT_TRUE(batch.ids.equal(expected)) << row.found << " in windows of " << row.context;
    EXPECT_FALSE(batch.mask.defined());
  }
}

TEST(GptqWindows, RefusesLessThanOne) {
  const WindowCase cases[] = {{3, 4, 0, 0}, {0, 4, 0, 0}, {10, 4, 3, 0}, {10, 1, 0, 0}, {10, 0, 0, 0}};
  for (const auto& row : cases) {
    const std::vector<std::int64_t> ids(static_cast<std::size_t>(row.found));
    EXPECT_THROW(gptq_windows(ids, row.context, row.max_tokens, "text"), Error);
  }
  const auto message = tests::message_of<Error>([] { gptq_windows({1, 2, 3}, 2048, 0, "book.txt"); });
  EXPECT_TRUE(message.starts_with("book.txt: 3 tokens")) << message;
  EXPECT_NE(message.find("2048"), std::string::npos) << message;
}

TEST(TokenStatistic, IsMeanAndStandardErrorWhateverTheParts) {
  const auto values = at::randn({100}) + 3;
  TokenStatistic statistic;
  EXPECT_EQ(statistic.mean(), 0);
  EXPECT_EQ(statistic.standard_error(), 0);
  statistic.add(values.narrow(0, 0, 1));
  EXPECT_EQ(statistic.standard_error(), 0);
  statistic.add(values.narrow(0, 1, 99).view({9, 11}));
  const auto exact = values.to(at::kDouble);
  EXPECT_EQ(statistic.count, 100);
  EXPECT_NEAR(statistic.mean(), exact.mean().item<double>(), 1e-12);
  EXPECT_NEAR(statistic.standard_error(), exact.std(/*unbiased=*/true).item<double>() / 10, 1e-12);
}

struct ScoreCase {
  const char* name;
  bool llama;
  std::int64_t vocabulary, tokens;
  bool masked;
};
const ScoreCase kCases[] = {
    {"rotary", true, 50, 24, false},
    {"learned positions, padded", false, 50, 24, true},
    {"logits in more than one chunk", true, 100000, 60, true},  // 16 MiB of F32 hold 41 tokens
};
constexpr double kTolerance = 2e-5;  // F32 logits of size 4 through two blocks

TEST(Score, EqualsTheFullLogSoftmax) {
  for (const auto& row : kCases) {
    SCOPED_TRACE(row.name);
    const auto reference = tiny_decoder({.llama = row.llama, .vocabulary = row.vocabulary, .context = 64});
    const auto model = tests::quantized(reference, tests::Weights::groups);
    calibrate::TokenBatch batch = {.ids = tests::random_ids(model, 3, row.tokens), .mask = {}, .provenance = {}};
    const std::vector<std::int64_t> lengths = {row.tokens, row.masked ? 1 : row.tokens,
                                               row.masked ? 42 % row.tokens : row.tokens};
    if (row.masked) {
      batch.mask = at::ones(batch.ids.sizes(), at::kBool);
      for (int i = 0; i < 3; ++i) batch.mask[i].slice(0, lengths[static_cast<std::size_t>(i)]).fill_(false);
    }

    std::vector<at::Tensor> likelihoods, reference_likelihoods, divergences, agreements;
    std::vector<double> by_row;
    for (std::int64_t i = 0; i < 3; ++i) {
      const auto length = lengths[static_cast<std::size_t>(i)];
      const auto ids = batch.ids.narrow(0, i, 1).narrow(1, 0, length);
      const auto ours = tests::ExplicitModel(model).logits(ids)[0].detach(),
                 theirs = tests::ExplicitModel(reference).logits(ids)[0].detach();
      const auto next = ids[0].slice(0, 1).unsqueeze(1);
      likelihoods.push_back(-ours.log_softmax(-1).slice(0, 0, -1).gather(1, next));
      reference_likelihoods.push_back(-theirs.log_softmax(-1).slice(0, 0, -1).gather(1, next));
      divergences.push_back(tests::explicit_divergence(theirs, ours));
      agreements.push_back(ours.argmax(-1).eq(theirs.argmax(-1)));
      by_row.push_back(divergences.back().mean().item<double>());
    }

    for (const std::int64_t batch_rows : {0, 2}) {
      const auto scores = score(model, &reference, batch, {.batch_rows = batch_rows}, silent_progress());
      const auto expect = [](const TokenStatistic& found, const std::vector<at::Tensor>& parts) {
        const auto all = at::cat(parts).to(at::kDouble);
        EXPECT_EQ(found.count, all.numel());
        EXPECT_NEAR(found.mean(), all.mean().item<double>(), kTolerance);
        EXPECT_NEAR(found.standard_error(), all.std().item<double>() / std::sqrt(static_cast<double>(found.count)),
                    kTolerance);
      };
      expect(scores.negative_log_likelihood, likelihoods);
      expect(scores.reference_negative_log_likelihood, reference_likelihoods);
      expect(scores.divergence, divergences);
      expect(scores.agreement, agreements);
      ASSERT_EQ(scores.divergence_by_row.size(), 3U);
      for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(scores.divergence_by_row[i], by_row[i], kTolerance);
      const auto perplexity = std::exp(at::cat(likelihoods).mean().item<double>());
      EXPECT_NEAR(scores.perplexity(), perplexity, kTolerance * perplexity);
      EXPECT_DOUBLE_EQ(scores.perplexity_error(),
                       scores.perplexity() * scores.negative_log_likelihood.standard_error());
    }
  }
}

TEST(Score, OfAModelAgainstItself) {
  const auto model = tiny_decoder();
  const calibrate::TokenBatch batch = {.ids = tests::random_ids(model, 2, 10), .mask = {}, .provenance = {}};
  const auto scores = score(model, &model, batch, {}, silent_progress());
  EXPECT_EQ(scores.divergence.mean(), 0);
  EXPECT_EQ(scores.agreement.mean(), 1);
  EXPECT_EQ(scores.perplexity(), scores.reference_perplexity());
  const auto alone = score(model, nullptr, batch, {}, silent_progress());
  EXPECT_EQ(alone.negative_log_likelihood.sum, scores.negative_log_likelihood.sum);
  EXPECT_EQ(alone.divergence.count, 0);
}

TEST(Score, RefusesLogitsThatAreNotFinite) {
  const auto model = tiny_decoder();
  const calibrate::TokenBatch batch = {.ids = tests::random_ids(model, 2, 10), .mask = {}, .provenance = {}};
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    auto damaged = model;
    damaged.final_norm.weight = at::full({16}, value);
    EXPECT_THROW(score(damaged, nullptr, batch, {}, silent_progress()), Error);
    EXPECT_THROW(score(damaged, &model, batch, {}, silent_progress()), Error);
    EXPECT_THROW(score(model, &damaged, batch, {}, silent_progress()), Error);
  }
}

}  // namespace
}  // namespace normtweak::evaluate
