#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>

#include "normtweak/evaluate/continuations.h"
#include "normtweak/evaluate/text_rows.h"
#include "support/explicit_model.h"
#include "support/tiny_decoder.h"

namespace normtweak::evaluate {
namespace {

using tests::tiny_decoder;

// Texts that begin others, that are others, and that part from them before or within what is predicted.
std::vector<Continuation> texts_that_overlap(const model::Decoder& model) {
  const auto row = tests::random_ids(model, 1, 12)[0];
  const std::vector<std::int64_t> ids(row.const_data_ptr<std::int64_t>(), row.const_data_ptr<std::int64_t>() + 12);
  const auto text = [&](std::ptrdiff_t length, std::int64_t predicted, std::int64_t last_id) {
    Continuation one = {.ids = {ids.begin(), ids.begin() + length}, .predicted = predicted};
    one.ids.back() = last_id;
    return one;
  };
  std::vector<Continuation> texts = {text(5, 1, 7),  text(5, 1, 9),  text(12, 6, 3), text(8, 7, 3),
                                     text(12, 2, 3), text(2, 1, 11), text(12, 1, 4)};
  texts.push_back({.ids = {ids[1], ids[0], ids[2], ids[3]}, .predicted = 2});
  return texts;
}

TEST(Continuations, EqualOneTextAtATimeWithAndWithoutAReference) {
  const auto reference = tiny_decoder({.context = 64});
  const auto model = tests::quantized(reference, tests::Weights::groups);
  const auto texts = texts_that_overlap(reference);
  const tests::ExplicitModel exact(model), theirs(reference);
  for (const std::int64_t batch_rows : {0, 1, 2}) {
    const auto alone = score_continuations(model, texts, {.batch_rows = batch_rows}, silent_progress());
    const auto both = score_continuations(
        model, texts, {.batch_rows = batch_rows, .reference = &reference, .greedy = true}, silent_progress());
    ASSERT_EQ(alone.size(), 1U);
    ASSERT_EQ(both.size(), 2U);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      SCOPED_TRACE(i);
      const auto count = texts[i].predicted;
      const auto ids = at::tensor(texts[i].ids, at::kLong).unsqueeze(0);
      const auto next = ids[0].slice(0, -count).unsqueeze(1);
      const auto predicting = [&](const tests::ExplicitModel& one) {
        return one.logits(ids).detach()[0].slice(0, -count - 1, -1);
      };
      const auto ours = predicting(exact), other = predicting(theirs);
      const auto likelihood = [&](const at::Tensor& logits) {
        return logits.log_softmax(-1).gather(1, next).sum().item<double>();
      };
      EXPECT_NEAR(alone[0][i].log_likelihood, likelihood(ours), 1e-4);
      EXPECT_NEAR(both[0][i].log_likelihood, likelihood(ours), 1e-4);
      EXPECT_NEAR(both[1][i].log_likelihood, likelihood(other), 1e-4);
      EXPECT_EQ(both[0][i].greedy, ours.argmax(-1).eq(next.squeeze(1)).all().item<bool>());
      EXPECT_EQ(both[0][i].divergence.count, count);
      EXPECT_NEAR(both[0][i].divergence.mean(), tests::explicit_divergence(other, ours).mean().item<double>(), 1e-4);
      EXPECT_NEAR(both[0][i].agreement.mean(),
                  ours.argmax(-1).eq(other.argmax(-1)).to(at::kDouble).mean().item<double>(), 1e-9);
    }
  }
}

// Questions with answers of several tokens each: some questions begin alike, one answer begins another.
std::vector<Continuation> questions_with_answers(const model::Decoder& model) {
  const auto row = tests::random_ids(model, 1, 12)[0];
  const std::vector<std::int64_t> ids(row.const_data_ptr<std::int64_t>(), row.const_data_ptr<std::int64_t>() + 12);
  std::vector<Continuation> texts;
  for (const std::ptrdiff_t question : {4, 6, 9}) {
    for (const auto& answer :
         std::vector<std::vector<std::int64_t>>{{1, 2, 3}, {1, 2}, {4, 5, 6, 7, 8}, {9}, {2, 2, 2}}) {
      Continuation text = {.ids = {ids.begin(), ids.begin() + question},
                           .predicted = static_cast<std::int64_t>(answer.size())};
      text.ids.insert(text.ids.end(), answer.begin(), answer.end());
      texts.push_back(std::move(text));
    }
  }
  texts.push_back({.ids = {ids[1], ids[0], 3, 3}, .predicted = 3});
  return texts;
}

struct AttentionCase {
  const char* name;
  tests::TinyModel model = {};
  void (*change)(model::ModelConfig& config) = nullptr;
};

const AttentionCase kAttentionCases[] = {
    {"rotary"},
    {"learned positions", {.llama = false}},
    {"windows",
     {},
     [](model::ModelConfig& config) {
       for (auto& layer : config.layer_facts) layer.window = 3;
     }},
    {"capped scores", {}, [](model::ModelConfig& config) { config.attention_cap = 0.5; }},
    {"ALiBi",
     {},
     [](model::ModelConfig& config) {
       config.alibi_largest = 8;
       for (auto& layer : config.layer_facts) layer.rotary = -1;
     }},
    {"ALiBi in bf16, and windows",
     {},
     [](model::ModelConfig& config) {
       config.alibi_largest = 8;
       config.alibi_in_bf16 = true;
       for (auto& layer : config.layer_facts) layer = {.window = 4, .rotary = -1};
     }},
};

TEST(Continuations, ThatShareARowAreThoseOfRowsOfTheirOwn) {
  for (const auto& [name, options, change] : kAttentionCases) {
    SCOPED_TRACE(name);
    auto model = tiny_decoder(options);
    if (change != nullptr) {
      change(model.config);
      for (int i = 0; i < model.blocks.size(); ++i) {
        model = tests::with_block(model, i, [&](model::Block& block) {
          block.facts = model.config.layer_facts[static_cast<std::size_t>(i)];
        });
      }
    }
    const auto texts = questions_with_answers(model);
    std::size_t tokens = 0;
    for (const auto& row : share_rows(texts)) tokens += row.tokens;
    EXPECT_LT(tokens, 60U);  // of 125
    for (const std::int64_t batch_rows : {0, 1}) {
      const auto together = score_continuations(model, texts, {.batch_rows = batch_rows}, silent_progress()).front();
      for (std::size_t i = 0; i < texts.size(); ++i) {
        const auto alone = score_continuations(model, {texts[i]}, {}, silent_progress()).front().front();
        EXPECT_NEAR(together[i].log_likelihood, alone.log_likelihood, 1e-6 * std::abs(alone.log_likelihood)) << i;
      }
    }
  }
}

TEST(Continuations, ShareARowOnlyWhereThatSavesMuch) {
  const auto text = [](std::vector<std::int64_t> ids) { return Continuation{.ids = std::move(ids), .predicted = 1}; };
  const auto rows =
      share_rows({text({1, 2, 3, 4, 5, 6, 0}), text({1, 7, 8, 9, 10, 11, 0}), text({1, 2, 3, 12, 13, 14, 0})});
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].branches.size(), 2U);
  EXPECT_EQ(rows[0].beginning, 3U);
  EXPECT_EQ(rows[0].tokens, 9U);
  EXPECT_EQ(rows[1].branches, (std::vector<std::vector<std::size_t>>{{1}}));
}

}  // namespace
}  // namespace normtweak::evaluate
