// Estimates of memory against the bytes of the tensors that a pass makes. Head sizes are independent of the hidden size
// (Gemma, Qwen3): here the heads together are four times as wide.
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "normtweak/model/activations.h"
#include "normtweak/model/forward_pass.h"
#include "support/counted_memory.h"
#include "support/tiny_decoder.h"

namespace normtweak::model {
namespace {

struct Shape {
  const char* name;
  tests::TinyModel model;
  at::ScalarType type;
};
const Shape kShapes[] = {
    {"wide heads", {.context = 64, .hidden = 64, .head_size = 64, .intermediate = 96}, at::kFloat},
    {"wide heads, bf16", {.context = 64, .hidden = 64, .head_size = 64, .intermediate = 96}, at::kBFloat16},
    {"wide heads, no sharing",
     {.llama = false, .context = 64, .hidden = 64, .head_size = 64, .intermediate = 96},
     at::kFloat},
    {"as wide as the stream", {.context = 64, .hidden = 64, .head_size = 16, .intermediate = 96}, at::kFloat},
    {"wide MLP", {.context = 64, .hidden = 64, .head_size = 16, .intermediate = 512}, at::kFloat},
    {"narrow heads", {.context = 64, .hidden = 128, .head_size = 8, .intermediate = 128}, at::kFloat},
};
constexpr std::int64_t kRows = 8, kTokens = 64;
constexpr double kSlack = 0.4;  // an estimate may be too high, but not so much that memory stays idle

TEST(Activations, APassTakesNoMoreThanEstimated) {
  for (const auto& row : kShapes) {
    SCOPED_TRACE(row.name);
    const auto decoder = with_type(tests::tiny_decoder(row.model), row.type);
    const auto ids = tests::random_ids(decoder, kRows, kTokens);
    const c10::NoGradGuard no_gradients;
    last_hidden_state(decoder, ids);  // fills the table of the rotary positions
    const tests::CountedMemory memory;
    last_hidden_state(decoder, ids);
    const auto estimate = static_cast<double>(kRows * kTokens * pass_bytes(decoder.config, decoder.device, row.type));
    EXPECT_LE(static_cast<double>(memory.peak()), estimate);
    EXPECT_GE(static_cast<double>(memory.peak()), kSlack * estimate);
  }
}

// As in a tweak: quantized, with norms and scales that take gradients.
Block tuned_block(const Decoder& decoder) {
  auto block = *tests::quantized(decoder, tests::Weights::groups).blocks.get(0);
  for (auto& [role, norm] : block.norms) norm.weight = norm.weight.clone().requires_grad_();
  for (auto& part : block.linears) {
    auto& scales = std::get<weights::AffineWeight>(part.linear.weight).scales;
    scales = scales.clone().requires_grad_();
  }
  return block;
}

TEST(Activations, AGraphKeepsNoMoreThanEstimated) {
  for (const auto& row : kShapes) {
    for (const bool tuned : {false, true}) {
      SCOPED_TRACE(fmt::format("{}, {}", row.name, tuned ? "tuned" : "float"));
      const auto decoder = with_type(tests::tiny_decoder(row.model), row.type);
      const auto block = tuned ? tuned_block(decoder) : *decoder.blocks.get(0);
      const auto hidden = embed(decoder, tests::random_ids(decoder, kRows, kTokens)).requires_grad_();
      forward(block, hidden, block_context(decoder));
      const tests::CountedMemory memory;
      const auto output = forward(block, hidden, block_context(decoder));
      const auto estimate =
          static_cast<double>(kRows * kTokens * graph_bytes(decoder.config, decoder.device, row.type));
      EXPECT_LE(static_cast<double>(memory.live()), estimate);
      EXPECT_GE(static_cast<double>(memory.live()), kSlack * estimate);
    }
  }
}

}  // namespace
}  // namespace normtweak::model
