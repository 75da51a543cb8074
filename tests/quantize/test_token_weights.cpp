#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/model/activations.h"
#include "normtweak/quantize/token_weights.h"
#include "support/explicit_model.h"
#include "support/tiny_decoder.h"

namespace normtweak::quantize {
namespace {

using tests::tiny_decoder;

// Rows padded on the right, to lengths that differ.
at::Tensor padding_mask(std::int64_t samples, std::int64_t tokens) {
  const auto lengths = tokens - at::arange(samples) % (tokens - 2);
  return at::arange(tokens).unsqueeze(0) < lengths.unsqueeze(1);
}

calibrate::TokenBatch text_for(const model::Decoder& decoder, std::int64_t samples, std::int64_t tokens, bool masked) {
  return {.ids = tests::random_ids(decoder, samples, tokens),
          .mask = masked ? padding_mask(samples, tokens) : at::Tensor(),
          .provenance = {}};
}

// ∂ℓ/∂y by LibTorch's autograd, in F64 and through one graph: each linear gets a bias for every token, whose gradient
// is that of the output.
std::vector<BlockTokenWeights> expected_weights(const model::Decoder& decoder, const calibrate::TokenBatch& text) {
  const auto samples = text.samples(), tokens = text.tokens();
  auto biased = decoder;
  for (int i = 0; i < decoder.blocks.size(); ++i) {
    biased = tests::with_block(biased, i, [&](model::Block& block) {
      for (auto& part : block.linears) {
        auto& bias = part.linear.bias;
        const auto by_token = at::zeros({samples, tokens, weights::shape(part.linear.weight)[0]});
        bias = bias.defined() ? by_token + bias : by_token;
      }
    });
  }
  const tests::ExplicitModel model(biased);
  const auto log_p = model.logits(text.ids).log_softmax(-1).narrow(1, 0, tokens - 1);
  auto loss = -log_p.gather(2, text.ids.narrow(1, 1, tokens - 1).unsqueeze(-1)).squeeze(-1);
  if (text.mask.defined()) loss = loss * text.mask.narrow(1, 1, tokens - 1);
  loss.sum().backward();

  std::vector<BlockTokenWeights> expected;
  const auto count = text.mask.defined() ? text.mask.sum() : at::ones({}) * static_cast<double>(samples * tokens);
  for (int i = 0; i < decoder.blocks.size(); ++i) {
    auto& places = expected.emplace_back();
    auto block = *biased.blocks.get(i);
    for (const auto& part : block.linears) {
      auto& sum = places[static_cast<std::size_t>(part.place().kind)];
      const auto squares = model.floats.at(part.linear.name + ".bias").grad().square().sum(-1);
      sum = sum.defined() ? sum + squares : squares;
    }
    for (auto& sum : places) sum = sum / (sum.sum() / count);
  }
  return expected;
}

struct Case {
  const char* name;
  tests::TinyModel model;
  std::int64_t samples, tokens;
  bool masked;
};

// The second row has more tokens than go through the model together, and more than one chunk of logits.
const Case kCases[] = {
    {"llama", {.layers = 3}, 3, 12, false},
    {"llama, many rows", {.vocabulary = 5000}, 70, 32, true},
    {"llama with biases and padding", {.biases = true}, 5, 16, true},
    {"gpt2", {.llama = false}, 3, 12, false},
    {"gpt2 with padding", {.llama = false, .layers = 3}, 5, 16, true},
};

TEST(FisherTokenWeights, AreThoseOfPlainAutograd) {
  for (const auto& row : kCases) {
    SCOPED_TRACE(row.name);
    const auto decoder = tiny_decoder(row.model);
    const auto text = text_for(decoder, row.samples, row.tokens, row.masked);
    const auto found = fisher_token_weights(decoder, text, silent_progress());
    const auto expected = expected_weights(decoder, text);
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      for (std::size_t place = 0; place < found[i].size(); ++place) {
        // F32 against F64: squares of gradients double their relative error.
        EXPECT_LT(tests::relative_error(found[i][place], expected[i][place]), 2e-5) << "block " << i << " " << place;
        EXPECT_EQ(found[i][place].select(1, row.tokens - 1).abs().max().item<float>(), 0);  // predicts nothing
        if (!row.masked) continue;
        EXPECT_EQ((found[i][place] * text.mask.logical_not()).abs().max().item<float>(), 0);
      }
    }
  }
}

// How many rows each pass had.
class RowsOfPasses : public ProgressSink {
 public:
  void report(const ProgressReport& report) override {
    if (report.done > done_) passes.push_back(report.done - done_);
    done_ = report.done;
  }
  void note(std::string_view) override {}

  std::vector<std::int64_t> passes;

 private:
  std::int64_t done_ = 0;
};

TEST(FisherTokenWeights, TakeNoMoreRowsAtATimeThanTheWorkspaceHolds) {
  auto decoder = tiny_decoder({.layers = 3});
  const auto text = text_for(decoder, 5, 16, true);
  const auto row = model::rerun_bytes(decoder.config, decoder.device, decoder.type, 16);
  const auto whole = fisher_token_weights(decoder, text, silent_progress());
  struct Workspace {
    std::int64_t bytes;
    std::vector<std::int64_t> passes;
  };
  for (const auto& workspace : {Workspace{row * 100, {5}}, {row * 3, {2, 2, 1}}, {row / 2, {1, 1, 1, 1, 1}}}) {
    decoder.workspace = workspace.bytes;
    RowsOfPasses progress;
    const auto found = fisher_token_weights(decoder, text, progress);
    EXPECT_EQ(progress.passes, workspace.passes);
    for (std::size_t i = 0; i < found.size(); ++i) {
      for (std::size_t place = 0; place < found[i].size(); ++place) {
        // Products of fewer rows sum in another order.
        EXPECT_LT(tests::relative_error(found[i][place], whole[i][place]), 1e-5) << "block " << i << " " << place;
      }
    }
  }
}

TEST(FisherTokenWeights, AreNearlyTheSameFromShortProducts) {
  const auto decoder = tiny_decoder();
  const auto text = text_for(decoder, 4, 16, false);
  const auto exact = fisher_token_weights(decoder, text, silent_progress());
  const auto brief = fisher_token_weights(with_type(decoder, at::kBFloat16), text, silent_progress());
  for (std::size_t i = 0; i < exact.size(); ++i) {
    for (std::size_t place = 0; place < exact[i].size(); ++place) {
      EXPECT_LT(tests::relative_error(brief[i][place], exact[i][place]), 0.1);  // bf16: 2^-8 in each product
    }
  }
}

TEST(FisherTokenWeights, AreRepeatable) {
  const auto decoder = tiny_decoder();
  const auto text = text_for(decoder, 70, 32, false);
  const auto once = fisher_token_weights(decoder, text, silent_progress());
  const auto again = fisher_token_weights(decoder, text, silent_progress());
  for (std::size_t i = 0; i < once.size(); ++i) {
    for (std::size_t place = 0; place < once[i].size(); ++place) EXPECT_TRUE(once[i][place].equal(again[i][place]));
  }
}

TEST(FisherTokenWeights, AreAllAlikeWhereTheLossDoesNotDependOnThem) {
  auto decoder = tests::with_block(tiny_decoder(), 1, [](model::Block& block) {
    find(block, model::LinearRole::down)->weight =
        weights::FloatWeight{at::zeros(weights::shape(find(block, model::LinearRole::down)->weight))};
  });
  const auto text = text_for(decoder, 3, 12, true);
  const auto found = fisher_token_weights(decoder, text, silent_progress());
  EXPECT_TRUE(found[1][static_cast<std::size_t>(model::PlaceKind::mlp)].equal(text.mask.to(at::kFloat)));
}

TEST(FisherTokenWeights, NeedTokensToPredict) {
  const auto decoder = tiny_decoder();
  EXPECT_THROW(fisher_token_weights(decoder, text_for(decoder, 3, 1, false), silent_progress()), Error);
}

}  // namespace
}  // namespace normtweak::quantize
