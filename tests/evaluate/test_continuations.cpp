#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "normtweak/evaluate/continuations.h"
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

}  // namespace
}  // namespace normtweak::evaluate
