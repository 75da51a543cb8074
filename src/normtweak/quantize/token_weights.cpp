#include "normtweak/quantize/token_weights.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>

#include "normtweak/base/device/matrix_product.h"
#include "normtweak/base/error.h"
#include "normtweak/model/activations.h"
#include "normtweak/model/finite_outputs.h"

namespace normtweak::quantize {
namespace {

constexpr std::int64_t kTokensCpu = 2048, kTokensGpu = 8192;  // per pass; with more, passes are no faster

// d(Σ −log p(next token)) / d hidden, with full logits for a chunk of tokens at a time.
// hidden: [rows, tokens, hidden] after the final norm; counted: f32 [rows, tokens], 1 if the next token counts.
at::Tensor next_token_gradient(const model::Decoder& decoder, const at::Tensor& hidden, const at::Tensor& ids,
                               const at::Tensor& counted) {
  const c10::NoGradGuard no_gradients;
  const auto head = model::values(decoder.head.weight, hidden.scalar_type());
  const auto all = hidden.flatten(0, 1), next = ids.roll(-1, 1).reshape({-1, 1}), share = counted.reshape({-1, 1});
  auto gradient = at::empty_like(all);
  const auto step = model::tokens_with_logits(head.size(0), hidden.device(), decoder.workspace);
  for (std::int64_t begin = 0; begin < all.size(0); begin += step) {
    const auto chunk = [&](const at::Tensor& whole) {
      return whole.narrow(0, begin, std::min(step, all.size(0) - begin));
    };
    auto difference = logits(decoder, chunk(all)).softmax(-1);
    difference.scatter_add_(1, chunk(next), -at::ones(chunk(next).sizes(), difference.options()));
    chunk(gradient).copy_(matmul_transposed(difference.mul_(chunk(share)).to(head.scalar_type()), head.t()));
  }
  return gradient.view(hidden.sizes());
}

// The usual number of tokens in rows, or as many rows as fit the workspace; at least one. A quarter of the workspace is
// left for the head and for temporaries of the backward pass.
std::int64_t rows_at_a_time(const model::Decoder& decoder, std::int64_t tokens) {
  const auto usual = (decoder.device.is_cuda() ? kTokensGpu : kTokensCpu) / tokens;
  const auto fitting = decoder.workspace / 4 * 3 / rerun_bytes(decoder.config, decoder.device, decoder.type, tokens);
  return std::max<std::int64_t>(1, std::min(usual, fitting));
}

// 1 where the next token counts, 0 elsewhere: f32 [rows, tokens].
at::Tensor counted_predictions(const calibrate::TokenBatch& text) {
  auto counted = text.mask.defined() ? text.mask.roll(-1, 1).to(at::kFloat) : at::ones(text.ids.sizes(), at::kFloat);
  counted.select(1, text.tokens() - 1).zero_();
  return counted;
}

// Writes Σ (∂ℓ/∂y)² over the output channels of each place's linears to rows [begin, ...) of `weights`.
void add_rows(const model::Decoder& decoder, const calibrate::TokenBatch& text, std::int64_t begin,
              std::vector<BlockTokenWeights>& weights) {
  const auto ids = text.ids.to(decoder.device);
  auto context = block_context(decoder);
  std::vector<at::Tensor> inputs;  // one per block
  auto hidden = embed(decoder, ids);
  {
    const c10::NoGradGuard no_gradients;
    for (int i = 0; i < decoder.blocks.size(); ++i) {
      inputs.push_back(hidden);
      hidden = forward(*decoder.blocks.get(i), hidden, context);
    }
  }

  const at::AutoGradMode with_gradients(true);
  const auto last_input = hidden.detach().requires_grad_();
  const auto last = forward(decoder.final_norm, last_input, decoder.type);
  const auto counted = counted_predictions(text).to(decoder.device);
  torch::autograd::backward({last}, {next_token_gradient(decoder, last.detach(), ids, counted)});
  auto gradient = last_input.grad();
  for (std::size_t i = inputs.size(); i-- > 0;) {
    BlockTokenWeights sums;
    context.observe_output = [&sums](model::LinearInput place, const at::Tensor& output) {
      output.register_hook([&sum = sums[static_cast<std::size_t>(place)]](const at::Tensor& output_gradient) {
        const auto squares = output_gradient.to(at::kFloat).square().sum(-1);
        sum = sum.defined() ? sum + squares : squares;
      });
    };
    const auto input = inputs[i].detach().requires_grad_();
    const auto output = forward(*decoder.blocks.get(static_cast<int>(i)), input, context);
    torch::autograd::backward({output}, {gradient});
    gradient = input.grad();
    inputs.pop_back();
    for (std::size_t place = 0; place < sums.size(); ++place) {
      weights[i][place].narrow(0, begin, text.samples()).copy_(sums[place]);
    }
  }
}

// Normalises to mean 1 over the tokens that count, across all processes.
void normalise(at::Tensor& weights, const at::Tensor& mask, std::size_t block, const model::Decoder& decoder,
               const Processes& processes) {
  const auto sum = weights.sum(at::kDouble);
  const auto count = mask.defined() ? mask.sum() : at::full({}, weights.numel(), at::kLong);
  processes.all_reduce_sum({sum, count});
  const auto mean = sum.item<double>() / static_cast<double>(count.item<std::int64_t>());
  if (!std::isfinite(mean)) {
    fail("{}: block {}: gradients for the weights of tokens are not finite; {}, or --token-weights none",
         decoder.origin, block, model::about_overflow(decoder.type));
  }
  if (mean > 0) {
    weights.div_(mean);
  } else {
    weights.copy_(mask.defined() ? mask : at::ones(weights.sizes(), weights.options()));
  }
}

}  // namespace

std::vector<BlockTokenWeights> fisher_token_weights(const model::Decoder& decoder, const calibrate::TokenBatch& text,
                                                    ProgressSink& progress, const Processes& processes) {
  if (text.tokens() < 2) fail("the weights of tokens need rows of at least 2 tokens; found {}", text.tokens());
  std::vector<BlockTokenWeights> weights(static_cast<std::size_t>(decoder.blocks.size()));
  for (auto& block : weights) {
    for (auto& place : block) place = at::zeros(text.ids.sizes(), at::kFloat);
  }
  Stage stage(progress, "weigh tokens", text.samples(), "rows");
  const auto step = rows_at_a_time(decoder, text.tokens());
  for (std::int64_t begin = 0; begin < text.samples(); begin += step) {
    const auto count = std::min(step, text.samples() - begin);
    add_rows(decoder, rows(text, begin, count), begin, weights);
    stage.advance(count);
  }
  for (std::size_t i = 0; i < weights.size(); ++i) {
    for (auto& place : weights[i]) normalise(place, text.mask, i, decoder, processes);
  }
  return weights;
}

}  // namespace normtweak::quantize
