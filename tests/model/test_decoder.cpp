#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <limits>

#include "normtweak/model/decoder.h"
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

TEST(Block, RunsAsFarAsAPlace) {
  for (const auto& row : kModels) {
    SCOPED_TRACE(row.name);
    const auto decoder = tests::quantized(tiny_decoder(row.model), row.weights);
    const auto hidden = embed(decoder, tests::random_ids(decoder, 2, 12));
    const auto block = decoder.blocks.get(0);
    std::vector<at::Tensor> inputs, outputs;  // at each place; of the linears at a place, the last one's output
    auto context = block_context(decoder);
    context.observe = [&](LinearInput, const at::Tensor& x) { inputs.push_back(x); };
    context.observe_output = [&](LinearInput place, const at::Tensor& y) {
      outputs.resize(static_cast<std::size_t>(place) + 1);
      outputs.back() = y;
    };
    const auto output = forward(*block, hidden, context);
    ASSERT_EQ(inputs.size(), kLinearInputs);
    for (int place = 0; place < kLinearInputs; ++place) {
      const auto found = forward_to(static_cast<LinearInput>(place), *block, hidden, block_context(decoder));
      EXPECT_TRUE(found.input.equal(inputs[static_cast<std::size_t>(place)])) << place;
    }
    const auto attention = forward_to(LinearInput::attention_output, *block, hidden, block_context(decoder));
    const auto down = forward_to(LinearInput::mlp_down, *block, hidden, block_context(decoder));
    EXPECT_TRUE(attention.residual.equal(hidden));
    EXPECT_TRUE((down.residual + outputs[3]).equal(output));
    EXPECT_TRUE((attention.residual + outputs[1]).equal(down.residual));
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
      auto context = block_context(decoder);
      context.start = start;
      auto hidden = embed(decoder, ids.narrow(1, start, start == 0 ? prompt : 1), start);
      for (int i = 0; i < decoder.blocks.size(); ++i) {
        context.cache = &cache[static_cast<std::size_t>(i)];
        hidden = forward(*decoder.blocks.get(i), hidden, context);
      }
      parts.push_back(forward(decoder.final_norm, hidden, decoder.type));
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

TEST(Decoder, ObserversSeeTheInputOfEveryLinear) {
  const auto decoder = tiny_decoder({.biases = true});
  auto block = *decoder.blocks.get(0);
  const auto hidden = embed(decoder, tests::random_ids(decoder, 2, 3));
  std::vector<at::Tensor> inputs(kLinearInputs);
  auto context = block_context(decoder);
  context.observe = [&](LinearInput place, const at::Tensor& x) { inputs[static_cast<std::size_t>(place)] = x; };
  forward(block, hidden, context);
  for (const auto& placed : linears(block)) {
    EXPECT_EQ(inputs.at(static_cast<std::size_t>(placed.input)).size(-1), weights::shape(placed.linear->weight)[1])
        << placed.linear->name;
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
