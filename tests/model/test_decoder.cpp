#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>

#include "normtweak/model/decoder.h"
#include "normtweak/model/forward_pass.h"
#include "normtweak/model/fused_linears.h"
#include "normtweak/model/head.h"
#include "support/explicit_model.h"
#include "support/tiny_decoder.h"

namespace normtweak::model {
namespace {

using tests::tiny_decoder, tests::TinyModel, tests::Weights;

struct ModelCase {
  const char* name;
  TinyModel model;
  Weights weights = Weights::floats;
};
const ModelCase kModels[] = {
    {"rotary", {.llama = true}},
    {"rotary with biases", {.llama = true, .biases = true}, Weights::groups},
    {"learned positions", {.llama = false}},
    {"learned positions, codebooks", {.llama = false}, Weights::codebook},
};

// F32 sums in another order, through two blocks.
constexpr double kTolerance = 2e-5;

TEST(Decoder, FusedLinearsComputeTheSame) {
  for (const bool biases : {false, true}) {
    const auto decoder = tiny_decoder({.biases = biases});
    const auto fused = with_fused_linears(decoder);
    EXPECT_EQ(decoder.blocks.get(1)->linears.size(), 7U);
    EXPECT_EQ(fused.blocks.get(1)->linears.size(), 4U);
    const auto ids = tests::random_ids(decoder, 3, 20);
    const auto of = [&](const Decoder& model) { return logits(model, last_hidden_state(model, ids)); };
    EXPECT_LT((of(fused) - of(decoder)).abs().max().item<double>(), kTolerance);
  }
  const auto quantized = tests::quantized(tiny_decoder(), Weights::groups);  // codes are not copied
  EXPECT_EQ(with_fused_linears(quantized).blocks.get(0)->linears.size(), 7U);
  auto crowded = tiny_decoder();
  crowded.workspace = 1000;
  EXPECT_EQ(with_fused_linears(crowded).blocks.get(0)->linears.size(), 7U);
}

TEST(Decoder, EqualsTheExplicitModel) {
  for (const auto& row : kModels) {
    SCOPED_TRACE(row.name);
    const auto decoder = tests::quantized(tiny_decoder(row.model), row.weights);
    const auto ids = tests::random_ids(decoder, 3, 20);
    const auto expected = tests::ExplicitModel(decoder).logits(ids);
    EXPECT_LT(tests::relative_error(logits(decoder, last_hidden_state(decoder, ids)), expected), kTolerance);
    const auto half = with_type(decoder, at::kBFloat16);
    const auto rough = logits(half, last_hidden_state(half, ids));
    EXPECT_EQ(rough.scalar_type(), at::kFloat);
    EXPECT_LT(tests::relative_error(rough, expected), 0.1);  // 8 bits of precision
  }
}

TEST(Block, ShowsItsPlacesAndEndsWhereAsked) {
  for (const auto& row : kModels) {
    SCOPED_TRACE(row.name);
    const auto decoder = tests::quantized(tiny_decoder(row.model), row.weights);
    const auto hidden = embed(decoder, tests::random_ids(decoder, 2, 12));
    const auto block = decoder.blocks.get(0);
    std::map<Place, Seen> seen;
    std::map<Place, at::Tensor> outputs;  // of the linears at a place, the last one's
    auto context = block_context(decoder);
    context.tap = [&](const Seen& shown) {
      if (shown.linear == nullptr) {
        seen[shown.place] = shown;
      } else {
        outputs[shown.place] = shown.output;
      }
      return false;
    };
    const auto output = forward(*block, hidden, context);
    ASSERT_EQ(seen.size(), kPlaceKinds);
    const auto& attention = seen.at({PlaceKind::attention_output});
    const auto& down = seen.at({PlaceKind::mlp_down});
    EXPECT_TRUE(attention.residual.equal(hidden));
    EXPECT_TRUE((down.residual + outputs.at({PlaceKind::mlp_down})).equal(output));
    EXPECT_TRUE((attention.residual + outputs.at({PlaceKind::attention_output})).equal(down.residual));
    EXPECT_FALSE(seen.at({PlaceKind::mlp}).residual.defined());
    for (const auto& [place, expected] : seen) {
      at::Tensor input;
      int later = 0;
      context.tap = [&, &wanted = place](const Seen& shown) {
        if (input.defined()) ++later;
        if (shown.place != wanted || shown.linear != nullptr) return false;
        input = shown.input;
        return true;
      };
      EXPECT_FALSE(forward(*block, hidden, context).defined());
      EXPECT_TRUE(input.equal(expected.input));
      EXPECT_EQ(later, 0);
      // A pass that goes on there shows only what follows, and ends alike.
      context.from = &expected;
      std::map<Place, at::Tensor> following;
      context.tap = [&](const Seen& shown) {
        following[shown.place] = shown.input;
        return false;
      };
      EXPECT_TRUE(forward(*block, hidden, context).equal(output));
      for (const auto& [other, whole] : seen) {
        ASSERT_EQ(following.contains(other), other >= place);
        if (!following.contains(other)) continue;
        EXPECT_TRUE(following.at(other).equal(whole.input));
      }
      context.from = nullptr;
    }
  }
}

TEST(Decoder, WithACacheIsTheFullPass) {
  const c10::NoGradGuard no_gradients;
  for (const auto& row : kModels) {
    SCOPED_TRACE(row.name);
    const auto decoder = tests::quantized(tiny_decoder(row.model), row.weights);
    const auto& config = decoder.config;
    const std::int64_t tokens = 12, prompt = 5;
    const auto ids = tests::random_ids(decoder, 2, tokens);
    // Beyond what has been written, the cache may hold anything.
    const auto anything = at::full({2, config.key_value_heads, tokens, config.head_size}, 1e30);
    std::vector<KeyValueCache> cache;
    for (int i = 0; i < decoder.blocks.size(); ++i) cache.push_back({anything.clone(), anything.clone()});
    std::vector<at::Tensor> parts;
    for (std::int64_t start = 0; start < tokens; start += parts.back().size(1)) {
      const auto next = ids.narrow(1, start, start == 0 ? prompt : 1);
      parts.push_back(last_hidden_state(decoder, next, {.start = start, .cache = &cache}));
    }
    EXPECT_LT(tests::relative_error(at::cat(parts, 1), last_hidden_state(decoder, ids)), kTolerance);
  }
}

TEST(Decoder, PaddingOnTheRightChangesNothingBeforeIt) {
  const auto decoder = tiny_decoder();
  const auto ids = tests::random_ids(decoder, 1, 10);
  const auto alone = last_hidden_state(decoder, ids.narrow(1, 0, 6));
  EXPECT_LT(tests::relative_error(last_hidden_state(decoder, ids).narrow(1, 0, 6), alone), kTolerance);
}

TEST(Block, EveryLinearReadsTheInputOfItsPlace) {
  const auto decoder = tiny_decoder({.biases = true});
  const auto block = decoder.blocks.get(0);
  std::map<Place, std::int64_t> columns;
  auto context = block_context(decoder);
  context.tap = [&](const Seen& seen) {
    columns[seen.place] = seen.input.size(-1);
    return false;
  };
  forward(*block, embed(decoder, tests::random_ids(decoder, 2, 3)), context);
  for (const auto& part : block->linears) {
    EXPECT_EQ(columns.at(part.place()), weights::shape(part.linear.weight)[1]) << part.linear.name;
  }
}

TEST(Decoder, CountsBitsOfWeights) {
  auto decoder = tiny_decoder();
  decoder.config.stored_type = at::kBFloat16;
  EXPECT_EQ(bits_per_weight(decoder), 16);
  // 2 bits, and an F32 scale and zero for each 8 columns.
  EXPECT_EQ(bits_per_weight(tests::quantized(decoder, Weights::groups)), 2 + 2 * 32 / 8.0);
}

}  // namespace
}  // namespace normtweak::model
