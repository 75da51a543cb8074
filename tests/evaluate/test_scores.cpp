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

TEST(Windows, AreWholeAndDoNotOverlap) {
  const WindowCase cases[] = {{10, 4, 0, 2}, {10, 4, 100, 2}, {10, 4, 9, 2},  {10, 4, 7, 1},
                              {10, 4, 4, 1}, {8, 4, 0, 2},    {10, 10, 0, 1}, {2, 2, 0, 1}};
  for (const auto& row : cases) {
    std::vector<std::int64_t> ids(static_cast<std::size_t>(row.found));
    std::iota(ids.begin(), ids.end(), 100);
    const auto windows = cut(find_protocol("gptq"), ids, {1}, {row.context, row.max_tokens}, "text");
    const auto expected = at::arange(100, 100 + row.windows * row.context).view({row.windows, row.context});
    EXPECT_TRUE(windows.rows.ids.equal(expected)) << row.found << " in windows of " << row.context;
    EXPECT_FALSE(windows.rows.mask.defined());
  }
}

TEST(Windows, AreAtLeastOne) {
  const WindowCase cases[] = {{3, 4, 0, 0}, {0, 4, 0, 0}, {10, 4, 3, 0}, {10, 1, 0, 0}, {10, 0, 0, 0}};
  for (const auto& row : cases) {
    const std::vector<std::int64_t> ids(static_cast<std::size_t>(row.found));
    EXPECT_THROW(cut(find_protocol("gptq"), ids, {}, {row.context, row.max_tokens}, "text"), Error);
  }
  EXPECT_THROW(cut(find_protocol("llama.cpp"), {1, 2, 3}, {}, {.context = 2}, "text"), Error);  // nothing to predict
  const auto message = tests::message_of<Error>([] {
    cut(find_protocol("gptq"), {1, 2, 3}, {}, {.context = 2048}, "book.txt");
  });
  EXPECT_TRUE(message.starts_with("book.txt: 3 tokens")) << message;
  EXPECT_NE(message.find("2048"), std::string::npos) << message;
}

TEST(Statistic, IsMeanAndStandardErrorWhateverTheParts) {
  const auto values = at::randn({100}) + 3;
  Statistic statistic;
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

// Three rows; masked ones have 1 token and some tokens.
calibrate::TokenBatch batch_for(const model::Decoder& model, const ScoreCase& row) {
  calibrate::TokenBatch batch = {.ids = tests::random_ids(model, 3, row.tokens), .mask = {}, .provenance = {}};
  if (!row.masked) return batch;
  batch.mask = at::ones(batch.ids.sizes(), at::kBool);
  batch.mask[1].slice(0, 1).fill_(false);
  batch.mask[2].slice(0, 42 % row.tokens).fill_(false);
  return batch;
}

// What a figure of Scores is made of: a part for each row.
struct Expected {
  std::vector<at::Tensor> likelihood, reference_likelihood, divergence, agreement;
};

Expected expect_by_row(const model::Decoder& model, const model::Decoder& reference,
                       const calibrate::TokenBatch& batch) {
  Expected expected;
  for (std::int64_t i = 0; i < batch.samples(); ++i) {
    const auto length = batch.mask.defined() ? batch.mask[i].sum().item<std::int64_t>() : batch.tokens();
    const auto ids = batch.ids.narrow(0, i, 1).narrow(1, 0, length);
    const auto ours = tests::ExplicitModel(model).logits(ids)[0].detach(),
               theirs = tests::ExplicitModel(reference).logits(ids)[0].detach();
    const auto next = ids[0].slice(0, 1).unsqueeze(1);
    expected.likelihood.push_back(-ours.log_softmax(-1).slice(0, 0, -1).gather(1, next));
    expected.reference_likelihood.push_back(-theirs.log_softmax(-1).slice(0, 0, -1).gather(1, next));
    expected.divergence.push_back(tests::explicit_divergence(theirs, ours));
    expected.agreement.push_back(ours.argmax(-1).eq(theirs.argmax(-1)));
  }
  return expected;
}

void compare(const Statistic& found, const std::vector<at::Tensor>& parts) {
  const auto all = at::cat(parts).to(at::kDouble);
  EXPECT_EQ(found.count, all.numel());
  EXPECT_NEAR(found.mean(), all.mean().item<double>(), kTolerance);
  EXPECT_NEAR(found.standard_error(), all.std().item<double>() / std::sqrt(static_cast<double>(found.count)),
              kTolerance);
}

void compare(const Scores& found, const Expected& expected) {
  compare(found.negative_log_likelihood, expected.likelihood);
  compare(found.reference_negative_log_likelihood, expected.reference_likelihood);
  compare(found.divergence, expected.divergence);
  compare(found.agreement, expected.agreement);
  ASSERT_EQ(found.divergence_by_row.size(), expected.divergence.size());
  for (std::size_t i = 0; i < expected.divergence.size(); ++i) {
    EXPECT_NEAR(found.divergence_by_row[i], expected.divergence[i].mean().item<double>(), kTolerance);
  }
  const auto perplexity = std::exp(at::cat(expected.likelihood).mean().item<double>());
  EXPECT_NEAR(found.perplexity(), perplexity, kTolerance * perplexity);
  EXPECT_DOUBLE_EQ(found.perplexity_error(), found.perplexity() * found.negative_log_likelihood.standard_error());
}

TEST(Score, EqualsTheFullLogSoftmax) {
  for (const auto& row : kCases) {
    SCOPED_TRACE(row.name);
    auto reference = tiny_decoder({.llama = row.llama, .vocabulary = row.vocabulary, .context = 64});
    reference.workspace = std::int64_t{256} << 20;  // a sixteenth of it for logits; of the models made from it, too
    const auto groups = tests::quantized(reference, tests::Weights::groups),
               channels = tests::quantized(reference, tests::Weights::channels);
    const auto batch = batch_for(reference, row);
    const auto of_groups = expect_by_row(groups, reference, batch),
               of_channels = expect_by_row(channels, reference, batch);
    for (const std::int64_t batch_rows : {0, 2}) {
      compare(score(groups, &reference, batch, {.batch_rows = batch_rows}, silent_progress()), of_groups);
      const auto both = score({&groups, &channels}, &reference, batch, {.batch_rows = batch_rows}, silent_progress());
      ASSERT_EQ(both.size(), 2U);
      compare(both[0], of_groups);
      compare(both[1], of_channels);
      const auto alone = score({&groups, &channels}, nullptr, batch, {.batch_rows = batch_rows}, silent_progress());
      compare(alone[0].negative_log_likelihood, of_groups.likelihood);
      compare(alone[1].negative_log_likelihood, of_channels.likelihood);
      EXPECT_EQ(alone[1].divergence.count + alone[1].agreement.count, 0);
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
    EXPECT_THROW(score({&model, &damaged}, nullptr, batch, {}, silent_progress()), Error);
    const auto message = [&](const model::Decoder& scored, const model::Decoder& reference) {
      return tests::message_of<Error>([&] { score(scored, &reference, batch, {}, silent_progress()); });
    };
    EXPECT_NE(message(damaged, model).find("the model, the final norm: "), std::string::npos);
    EXPECT_NE(message(model, damaged).find("the reference, the final norm: "), std::string::npos);
  }
}

}  // namespace
}  // namespace normtweak::evaluate
