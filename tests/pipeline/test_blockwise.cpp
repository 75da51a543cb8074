#include <ATen/TensorIndexing.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/inverse.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <limits>

#include "normtweak/base/error.h"
#include "normtweak/model/forward_pass.h"
#include "normtweak/pipeline/blockwise.h"
#include "normtweak/quantize/hessian.h"
#include "support/explicit_model.h"
#include "support/temporary_folder.h"
#include "support/tiny_decoder.h"

namespace normtweak::pipeline {
namespace {

// By assignment: GCC 12 takes members of an aggregate for uninitialised where the next ones may throw.
BlockwiseOptions options_of(const quantize::QuantizationPlan* plan,
                            const std::optional<tweak::LayerwiseOptions>& layerwise = {}) {
  BlockwiseOptions options;
  options.plan = plan;
  options.layerwise = layerwise;
  return options;
}

using tests::tiny_decoder, tests::with_block;

quantize::QuantizationPlan plan_of(const std::string& method) {
  quantize::QuantizationPlan plan;
  plan.standard.method = method;
  plan.standard.bits = 3;
  plan.standard.group_size = 8;
  plan.standard.search_grid = plan.standard.act_order = false;  // as published
  plan.standard.sweeps = 0;
  return plan;
}

calibrate::TokenBatch text_for(const model::Decoder& decoder) {
  return {.ids = tests::random_ids(decoder, 6, 16), .mask = {}, .provenance = {}};
}

model::Decoder damaged_at(const model::Decoder& decoder, int index) {
  return with_block(decoder, index, [](model::Block& block) {
    find(block, model::NormRole::mlp)->weight = find(block, model::NormRole::mlp)->weight.clone();
    find(block, model::NormRole::mlp)->weight[3] = std::numeric_limits<float>::quiet_NaN();
  });
}

TEST(RunBlocks, NamesTheBlockThatIsNotFinite) {
  const auto sound = tiny_decoder({.layers = 3});
  const auto text = text_for(sound);
  const auto plan = plan_of("gptq");
  for (const int index : {0, 2}) {
    const auto damaged = damaged_at(sound, index);
    const auto named = "block " + std::to_string(index) + ":";
    const auto quantizing = tests::message_of<Error>(
        [&] { run_blocks(damaged, damaged, damaged, text, options_of(&plan), silent_progress()); });
    EXPECT_TRUE(quantizing.starts_with(named)) << quantizing;
    const auto tweaking = tests::message_of<Error>([&] {
      const auto options = options_of(nullptr, tweak::LayerwiseOptions{});
      run_blocks(sound, sound, damaged, text, options, silent_progress());
    });
    EXPECT_TRUE(tweaking.starts_with(named)) << tweaking;
  }
}

TEST(RunBlocks, NamesTheLinearThatCannotBeQuantized) {
  const auto decoder = tiny_decoder();
  auto plan = plan_of("rtn");
  plan.standard.group_size = 16;  // divides 16 columns, not the 24 of `down`
  const auto message = tests::message_of<Error>(
      [&] { run_blocks(decoder, decoder, decoder, text_for(decoder), options_of(&plan), silent_progress()); });
  EXPECT_TRUE(message.starts_with("blocks.0.down: ")) << message;
}

TEST(RunBlocks, QuantizesWhatThePlanNames) {
  const auto decoder = tiny_decoder();
  auto plan = plan_of("gptq");
  plan.rules.push_back(quantize::parse_rule("*.down=skip"));
  plan.rules.push_back(quantize::parse_rule("blocks.1.up=method:rtn,bits:4"));
  const auto result = run_blocks(decoder, decoder, decoder, text_for(decoder), options_of(&plan), silent_progress());
  EXPECT_TRUE(result.tweaked.empty());
  EXPECT_EQ(result.steps, 0);
  for (int i = 0; i < 2; ++i) {
    const auto block = result.decoder.blocks.get(i);
    for (const auto& [role, expert, linear] : block->linears) {
      EXPECT_EQ(weights::is_quantized(linear.weight), role != model::LinearRole::down) << linear.name;
    }
    EXPECT_EQ(std::get<weights::AffineWeight>(find(*block, model::LinearRole::up)->weight).bits, i == 0 ? 3 : 4);
    EXPECT_TRUE(weights::dequantize(find(*block, model::LinearRole::down)->weight)
                    .equal(weights::dequantize(find(*decoder.blocks.get(i), model::LinearRole::down)->weight)));
    EXPECT_TRUE(
        find(*block, model::NormRole::mlp)->weight.equal(find(*decoder.blocks.get(i), model::NormRole::mlp)->weight));
    EXPECT_FALSE(
        weights::is_quantized(find(*decoder.blocks.get(i), model::LinearRole::up)->weight));  // the float model stays
  }
}

// GPTQ knows what reaches a block only if the blocks before it are quantized already: block 0 is the same in a run
// over both blocks, and block 1 differs from the one that sees the float stream.
TEST(RunBlocks, ABlockSeesTheQuantizedStream) {
  const auto decoder = tiny_decoder();
  const auto text = text_for(decoder);
  const auto plan = plan_of("gptq");
  auto second_only = plan;
  second_only.rules.push_back(quantize::parse_rule("blocks.0.*=skip"));
  const auto run = [&](const quantize::QuantizationPlan& wanted) {
    return run_blocks(decoder, decoder, decoder, text, options_of(&wanted), silent_progress()).decoder;
  };
  const auto up = [](const model::Decoder& of) {
    return std::get<weights::AffineWeight>(find(*of.blocks.get(1), model::LinearRole::up)->weight).codes;
  };
  EXPECT_TRUE(up(run(plan)).equal(up(run(plan))));
  EXPECT_FALSE(up(run(plan)).equal(up(run(second_only))));
}

// Passes that go on where others ended compute the same.
TEST(RunBlocks, KeepingPlacesChangesNothing) {
  const auto decoder = tiny_decoder();
  const auto text = text_for(decoder);
  auto plan = plan_of("gptq");
  plan.drift_correction = 0.5;
  const auto run = [&](bool keeps_places) {
    auto options = options_of(&plan);
    options.keeps_places = keeps_places;
    return run_blocks(decoder, decoder, decoder, text, options, silent_progress()).decoder;
  };
  const auto kept = run(true), repeated = run(false);
  for (int i = 0; i < 2; ++i) {
    for (const auto& part : kept.blocks.get(i)->linears) {
      const auto& other = find(*repeated.blocks.get(i), part.role)->weight;
      EXPECT_TRUE(weights::dequantize(part.linear.weight).equal(weights::dequantize(other))) << part.linear.name;
    }
  }
}

// Within a block, too: its last linear reads what the quantized ones before it make. The reference repeats that by
// hand, with the block run as a whole.
TEST(RunBlocks, ALinearSeesTheQuantizedOnesBeforeIt) {
  const auto decoder = tiny_decoder();
  const auto text = text_for(decoder);
  const auto plan = plan_of("gptq");
  const auto found = run_blocks(decoder, decoder, decoder, text, options_of(&plan), silent_progress()).decoder;
  auto before = *found.blocks.get(0);
  quantize::HessianAccumulator hessian(decoder.config.intermediate, at::kCPU);
  auto context = block_context(decoder);
  context.tap = [&](const model::Seen& seen) {
    if (seen.linear == nullptr && seen.place.kind == model::PlaceKind::mlp_down) hessian.add(seen.input);
    return false;
  };
  forward(before, embed(decoder, text.ids), context);
  const auto expected = quantize::find_quantizer("gptq").quantize(
      std::get<weights::FloatWeight>(find(*decoder.blocks.get(0), model::LinearRole::down)->weight).values,
      hessian.mean(), plan.standard);
  EXPECT_TRUE(weights::dequantize(find(before, model::LinearRole::down)->weight).equal(weights::dequantize(expected)));
}

// Weights that make up for drift bring the block's output nearer to the float model's own, on the text they saw.
TEST(RunBlocks, CorrectsDrift) {
  const auto decoder = tiny_decoder({.layers = 3});
  const auto text = text_for(decoder);
  const auto hidden_after = [&](const model::Decoder& of) {
    auto hidden = embed(of, text.ids);
    for (int i = 0; i < of.blocks.size(); ++i) hidden = forward(*of.blocks.get(i), hidden, block_context(of));
    return hidden;
  };
  auto plan = plan_of("gptq");
  plan.standard.bits = 4;
  const auto drift = [&](double share) {
    plan.drift_correction = share;
    const auto found = run_blocks(decoder, decoder, decoder, text, options_of(&plan), silent_progress());
    return tests::relative_error(hidden_after(found.decoder), hidden_after(decoder));
  };
  const double none = drift(0);
  EXPECT_LT(drift(0.5), 0.95 * none);
}

// What block 1 reads at one place, and what the output there is added to, on one of the two streams: f64.
struct Read {
  at::Tensor input, residual;  // [samples, tokens, columns]
};

// Block by block with whole passes; the residual by hand from the outputs before this place.
Read read_in_block_1(const model::Decoder& decoder, const at::Tensor& ids, model::PlaceKind place) {
  auto context = block_context(decoder);
  const auto hidden = forward(*decoder.blocks.get(0), embed(decoder, ids), context);
  Read read = {.input = {}, .residual = hidden.to(at::kDouble)};
  context.tap = [&](const model::Seen& seen) {
    const auto at = seen.place.kind;
    if (seen.linear == nullptr) {
      if (at == place) read.input = seen.input.to(at::kDouble);
    } else if (at == model::PlaceKind::attention_output && at != place) {
      read.residual = read.residual + seen.output;
    }
    return false;
  };
  forward(*decoder.blocks.get(1), hidden, context);
  return read;
}

// H, and what is multiplied by H⁻¹, over the tokens of some rows.
struct Means {
  at::Tensor hessian, wanted, damped_inverse;
  at::Tensor change() const { return wanted.matmul(damped_inverse); }  // (W D + R) H⁻¹
};

Means means_of(const at::Tensor& weight, const Read& floats, const Read& quantized, const at::Tensor& mask,
               double damping) {
  const auto tokens = [&](const at::Tensor& all) { return all.index({mask}); };  // [those that count, columns]
  const auto x = tokens(quantized.input), drift = tokens(floats.input) - x;
  const auto residual = tokens(floats.residual) - tokens(quantized.residual);
  const auto count = static_cast<double>(x.size(0));
  Means means;
  means.hessian = x.t().matmul(x) / count;
  means.wanted = (weight.matmul(drift.t().matmul(x)) + residual.t().matmul(x)) / count;
  const auto identity = at::eye(x.size(1), x.options());
  means.damped_inverse = at::inverse(means.hessian + identity * (means.hessian.diagonal().mean() * damping));
  return means;
}

at::Tensor every_other_row(const at::Tensor& mask, std::int64_t first) {
  auto half = at::zeros_like(mask);
  half.slice(0, first, std::nullopt, 2).copy_(mask.slice(0, first, std::nullopt, 2));
  return half;
}

// Where outputs are added to the residual stream, GPTQ is given V = W + share c (W D + R) H⁻¹, c what carries over from
// one half of the rows to the other. Tokens of the mask alone count.
TEST(RunBlocks, GivesTheQuantizerTheWeightThatMakesUpForDrift) {
  const auto decoder = tiny_decoder();
  auto text = calibrate::TokenBatch{.ids = tests::random_ids(decoder, 24, 16), .mask = {}, .provenance = {}};
  text.mask = at::ones(text.ids.sizes(), at::kBool);
  for (const int row : {1, 4, 6}) text.mask[row].slice(0, 3 + row).fill_(false);
  auto plan = plan_of("gptq");
  plan.drift_correction = 1;
  plan.rules.push_back(quantize::parse_rule("re:.*(o|down)=bits:8"));  // fine enough to see what they were given
  const auto found = run_blocks(decoder, decoder, decoder, text, options_of(&plan), silent_progress()).decoder;
  for (const auto place : {model::PlaceKind::attention_output, model::PlaceKind::mlp_down}) {
    const auto linear_of = [&](const model::Decoder& of) {
      const auto block = of.blocks.get(1);
      return *find(*block,
                   place == model::PlaceKind::mlp_down ? model::LinearRole::down : model::LinearRole::attention_output);
    };
    SCOPED_TRACE(linear_of(decoder).name);
    const auto weight = weights::dequantize(linear_of(decoder).weight).to(at::kDouble);
    const auto floats = read_in_block_1(decoder, text.ids, place), quantized = read_in_block_1(found, text.ids, place);
    const auto over = [&](const at::Tensor& mask) {
      return means_of(weight, floats, quantized, mask, plan.standard.damping);
    };
    const auto all = over(text.mask), even = over(every_other_row(text.mask, 0)),
               odd = over(every_other_row(text.mask, 1));
    const auto gain = (even.change() * odd.wanted + odd.change() * even.wanted).sum().item<double>();
    const auto cost =
        (even.change().matmul(odd.hessian) * even.change() + odd.change().matmul(even.hessian) * odd.change())
            .sum()
            .item<double>();
    const double carries_over = gain / cost;
    EXPECT_GT(carries_over, 0.1);
    EXPECT_LT(carries_over, 1);
    const auto expected = weight + all.change() * carries_over;
    const auto linear_plan = *plan.plan_for(linear_of(decoder).name);
    const auto rounded = weights::dequantize(
        quantize::find_quantizer("gptq").quantize(expected.to(at::kFloat), all.hessian.to(at::kFloat), linear_plan));
    EXPECT_GT(tests::relative_error(weight, expected), 0.03);
    EXPECT_LT(tests::relative_error(weights::dequantize(linear_of(found).weight), rounded), 2e-3);
  }
}

// The weights reach the Hessians of their own block and place: block 0's down projection is what GPTQ makes of them.
TEST(RunBlocks, WeighsTokens) {
  const auto decoder = tiny_decoder();
  const auto text = text_for(decoder);
  auto plan = plan_of("gptq");
  plan.token_weights = quantize::TokenWeighting::fisher;
  plan.rules.push_back(quantize::parse_rule("re:blocks\\.0\\.(?!down).*=skip"));  // what reaches it stays
  const auto run = [&] {
    return run_blocks(decoder, decoder, decoder, text, options_of(&plan), silent_progress()).decoder;
  };
  const auto token_weights = quantize::fisher_token_weights(decoder, text, silent_progress());
  const auto place = static_cast<std::size_t>(model::PlaceKind::mlp_down);
  quantize::HessianAccumulator hessian(decoder.config.intermediate, at::kCPU);
  auto context = block_context(decoder);
  context.tap = [&](const model::Seen& seen) {
    if (seen.linear != nullptr || seen.place.kind != model::PlaceKind::mlp_down) return false;
    hessian.add(seen.input, token_weights[0][place]);
    return false;
  };
  const auto block = decoder.blocks.get(0);
  forward(*block, embed(decoder, text.ids), context);
  const auto expected = quantize::find_quantizer("gptq").quantize(
      std::get<weights::FloatWeight>(find(*block, model::LinearRole::down)->weight).values, hessian.mean(),
      plan.standard);
  const auto found = run();
  EXPECT_TRUE(weights::dequantize(find(*found.blocks.get(0), model::LinearRole::down)->weight)
                  .equal(weights::dequantize(expected)));
  plan.token_weights = quantize::TokenWeighting::none;
  const auto plain = run().blocks.get(0);
  EXPECT_FALSE(weights::dequantize(find(*plain, model::LinearRole::down)->weight).equal(weights::dequantize(expected)));
}

TEST(RunBlocks, TweaksNormsOnly) {
  const auto floats = tiny_decoder();
  const auto start = tests::quantized(floats, tests::Weights::groups);
  const auto text = text_for(floats);
  tweak::LayerwiseOptions layerwise;
  layerwise.rate = 1e-3;
  layerwise.rows_per_step = 4;
  layerwise.final_norm = true;
  const auto result = run_blocks(floats, floats, start, text, options_of(nullptr, layerwise), silent_progress());
  ASSERT_EQ(result.tweaked.size(), 3U);  // two blocks and the final norm
  EXPECT_EQ(result.steps, 3 * 2);        // of 4 and 2 rows
  EXPECT_FALSE(result.decoder.final_norm.weight.equal(start.final_norm.weight));
  for (int i = 0; i < 2; ++i) {
    auto found = *result.decoder.blocks.get(i), before = *start.blocks.get(i);
    EXPECT_FALSE(
        find(found, model::NormRole::attention)->weight.equal(find(before, model::NormRole::attention)->weight));
    EXPECT_FALSE(find(found, model::NormRole::mlp)->weight.equal(find(before, model::NormRole::mlp)->weight));
    for (std::size_t j = 0; j < found.linears.size(); ++j) {
      const auto &a = std::get<weights::AffineWeight>(found.linears[j].linear.weight),
                 &b = std::get<weights::AffineWeight>(before.linears[j].linear.weight);
      EXPECT_TRUE(a.codes.equal(b.codes) && a.scales.equal(b.scales) && a.zeros.equal(b.zeros));
    }
  }
}

// Padding may hold anything: no token after it sees it, and no loss counts it.
TEST(RunBlocks, TheTweakLeavesPaddingOut) {
  const auto floats = tiny_decoder();
  const auto start = tests::quantized(floats, tests::Weights::groups);
  auto text = text_for(floats);
  text.mask = at::ones(text.ids.sizes(), at::kBool);
  text.mask.narrow(1, 12, 4).fill_(false);
  const auto options = options_of(
      nullptr, tweak::LayerwiseOptions{.loss = "mse", .rate = 1e-2, .final_norm = true, .float_stream = true});
  const auto tweaked = [&] { return run_blocks(floats, floats, start, text, options, silent_progress()).decoder; };
  const auto before = tweaked();
  text.ids = text.ids.clone();
  text.ids.narrow(1, 12, 4).fill_(7);
  EXPECT_LT(tests::relative_error(tweaked().final_norm.weight, before.final_norm.weight), 1e-5);
  text.mask.reset();
  EXPECT_GT(tests::relative_error(tweaked().final_norm.weight, before.final_norm.weight), 1e-3);
}

// Later blocks are quantized for the stream that tweaked norms produce. Seen in codebooks, which are weighted means of
// weights: codes may stay when their Hessian changes a little.
TEST(RunBlocks, QuantizesBehindTweakedNorms) {
  const auto decoder = tiny_decoder();
  const auto text = text_for(decoder);
  auto plan = plan_of("kmeans");
  plan.standard.group_size = 0;
  plan.standard.sensitivity = true;
  plan.standard.scale_type = at::kFloat;
  const auto codebook = [&](const std::optional<tweak::LayerwiseOptions>& layerwise, int block) {
    const auto options = options_of(&plan, layerwise);
    const auto result = run_blocks(decoder, decoder, decoder, text, options, silent_progress());
    return std::get<weights::CodebookWeight>(find(*result.decoder.blocks.get(block), model::LinearRole::up)->weight)
        .codebook;
  };
  const auto layerwise = tweak::LayerwiseOptions{.rate = 1e-2};
  EXPECT_TRUE(codebook(layerwise, 0).equal(codebook({}, 0)));
  EXPECT_FALSE(codebook(layerwise, 1).equal(codebook({}, 1)));
}

}  // namespace
}  // namespace normtweak::pipeline
