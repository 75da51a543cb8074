#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "normtweak/base/error.h"
#include "normtweak/evaluate/lambada.h"
#include "support/explicit_model.h"
#include "support/tiny_decoder.h"

namespace normtweak::evaluate {
namespace {

using tests::tiny_decoder;

// Texts of many lengths whose words have one to three tokens. The words of every other text are what the model itself
// would write; of the rest, those of more than one token differ in the last one only.
std::vector<Continuation> examples_for(const model::Decoder& model) {
  const tests::ExplicitModel exact(model);
  std::vector<Continuation> examples;
  for (std::int64_t i = 0; i < 8; ++i) {
    const auto words = i % 3 + 1;
    auto ids = tests::random_ids(model, i + 1, (5 * i) % 17 + 1)[i].unsqueeze(0);
    for (std::int64_t token = 0; token < words; ++token) {
      auto next = exact.logits(ids).select(1, -1).argmax(-1, true);  // [1, 1]
      if (i % 2 == 1 && token + 1 == words) next = (next + 1) % model.config.vocabulary;
      ids = at::cat({ids, next}, 1);
    }
    const auto* begin = ids.const_data_ptr<std::int64_t>();
    examples.push_back({.ids = {begin, begin + ids.size(1)}, .predicted = words});
  }
  return examples;
}

// One text at a time, through the whole softmax in F64.
LambadaScores one_by_one(const model::Decoder& model, const std::vector<Continuation>& examples) {
  const tests::ExplicitModel exact(model);
  LambadaScores scores;
  for (const auto& example : examples) {
    const auto ids = at::tensor(example.ids, at::kLong).unsqueeze(0);
    const auto all = exact.logits(ids).detach()[0].log_softmax(-1);
    double likelihood = 0;
    bool correct = true;
    for (auto at = ids.size(1) - example.predicted; at < ids.size(1); ++at) {
      const auto target = ids[0][at].item<std::int64_t>();
      likelihood += all[at - 1][target].item<double>();
      correct = correct && all[at - 1].argmax().item<std::int64_t>() == target;
    }
    scores.correct.add(correct ? 1 : 0);
    scores.negative_log_likelihood.add(-likelihood);
  }
  return scores;
}

struct Case {
  const char* name;
  bool llama;
  std::int64_t vocabulary;
};
const Case kCases[] = {
    {"rotary", true, 50},
    {"learned positions", false, 50},
    {"words in more than one chunk", true, 1000000},  // 16 MiB of F32 hold 4 tokens
};

TEST(Lambada, EqualsOneTextAtATime) {
  for (const auto& row : kCases) {
    SCOPED_TRACE(row.name);
    auto model = tiny_decoder({.llama = row.llama, .vocabulary = row.vocabulary, .context = 64});
    model.workspace = std::int64_t{256} << 20;  // a sixteenth of it for logits
    const auto examples = examples_for(model);
    const auto expected = one_by_one(model, examples);
    ASSERT_EQ(expected.correct.sum, 4);
    for (const std::int64_t batch_rows : {0, 1, 3}) {
      const auto found = score_lambada(model, examples, {.batch_rows = batch_rows}, silent_progress());
      EXPECT_EQ(found.correct.count, 8);
      EXPECT_EQ(found.correct.sum, 4);
      EXPECT_EQ(found.accuracy(), 0.5);
      // F32 logits of size 4 through two blocks, for up to three tokens
      EXPECT_NEAR(found.negative_log_likelihood.mean(), expected.negative_log_likelihood.mean(), 5e-5);
      EXPECT_NEAR(found.negative_log_likelihood.standard_error(), expected.negative_log_likelihood.standard_error(),
                  5e-5);
      const auto perplexity = std::exp(expected.negative_log_likelihood.sum / 8);
      EXPECT_NEAR(found.perplexity(), perplexity, 5e-5 * perplexity);
    }
  }
}

TEST(Lambada, RefusesLogitsThatAreNotFinite) {
  const auto model = tiny_decoder();
  const auto examples = examples_for(model);
  auto damaged = model;
  damaged.final_norm.weight = at::full({16}, std::numeric_limits<float>::quiet_NaN());
  EXPECT_THROW(score_lambada(damaged, examples, {}, silent_progress()), Error);
}

}  // namespace
}  // namespace normtweak::evaluate
