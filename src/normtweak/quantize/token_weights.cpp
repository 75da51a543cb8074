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
#include "normtweak/model/forward_pass.h"
#include "normtweak/model/head.h"

namespace normtweak::quantize {
namespace {

constexpr std::int64_t kTokensCpu = 2048, kTokensGpu = 8192;  // per pass; with more, passes are no faster

// d(Σ −log p(next token)) / d hidden, with full logits for a chunk of tokens at a time.
// hidden: [rows, tokens, hidden] after the final norm; counted: f32 [rows, tokens], 1 if the next token counts.
at::Tensor next_token_gradient(const model::Decoder& decoder, const at::Tensor& hidden, const at::Tensor& ids,
                               const at::Tensor& counted) {
  const c10::NoGradGuard no_gradients;
  const auto head = head_of(decoder);
  const auto all = hidden.flatten(0, 1), next = ids.roll(-1, 1).reshape({-1, 1}), share = counted.reshape({-1, 1});
  auto gradient = at::empty_like(all);
  const auto step = model::tokens_with_logits(head.weight.size(0), hidden.device(), decoder.workspace);
  for (std::int64_t begin = 0; begin < all.size(0); begin += step) {
    const auto chunk = [&](const at::Tensor& whole) {
      return whole.narrow(0, begin, std::min(step, all.size(0) - begin));
    };
    const auto found = logits(decoder, chunk(all));
    auto difference = found.softmax(-1);
    difference.scatter_add_(1, chunk(next), -at::ones(chunk(next).sizes(), difference.options()));
    chunk(gradient).copy_(hidden_gradient(head, found, difference.mul_(chunk(share))));
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

// Adds to `sum` what a linear's output gradient says of its tokens: Σ (∂ℓ/∂y)² over the output channels.
void add_squares(const model::Seen& seen, const at::Tensor& output_gradient, at::Tensor& sum, at::IntArrayRef rows) {
  const auto squares = output_gradient.to(at::kFloat).square().sum(-1);
  if (!seen.tokens.defined()) {
    const auto of_rows = squares.view(rows);
    sum = sum.defined() ? sum + of_rows : of_rows;
    return;
  }
  if (!sum.defined()) sum = at::zeros(rows, squares.options());
  sum.view(-1).index_add_(0, seen.tokens, squares);  // an expert's own tokens
}

// Writes the sums over each place's linears to rows [begin, ...) of `weights`.
void add_rows(const model::Decoder& decoder, const calibrate::TokenBatch& text, std::int64_t begin,
              std::vector<BlockTokenWeights>& weights) {
  const auto ids = text.ids.to(decoder.device);
  std::vector<at::Tensor> inputs;  // one per block
  at::Tensor hidden;
  {
    const c10::NoGradGuard no_gradients;
    hidden = through_blocks(decoder, ids, {.see = [&](int /*block*/, const at::Tensor& input) {
                              inputs.push_back(input);
                              return input;
                            }});
  }

  const at::AutoGradMode with_gradients(true);
  const auto last_input = hidden.detach().requires_grad_();
  const auto last = finish(decoder, decoder.final_norm, last_input);
  const auto counted = counted_predictions(text).to(decoder.device);
  torch::autograd::backward({last}, {next_token_gradient(decoder, last.detach(), ids, counted)});
  auto gradient = last_input.grad();
  auto context = block_context(decoder);
  for (std::size_t i = inputs.size(); i-- > 0;) {
    BlockTokenWeights sums;
    context.tap = [&](const model::Seen& seen) {
      if (seen.linear == nullptr || seen.is_router()) return false;
      auto& sum = sums[static_cast<std::size_t>(seen.place.kind)];
      auto kept = seen;  // without what would keep the graph alive
      kept.input = kept.residual = kept.output = at::Tensor();
      seen.output.register_hook([kept, &sum, rows = ids.sizes()](const at::Tensor& output_gradient) {
        add_squares(kept, output_gradient, sum, rows);
      });
      return false;
    };
    const auto input = inputs[i].detach().requires_grad_();
    const auto output = forward(*decoder.blocks.get(static_cast<int>(i)), input, context);
    torch::autograd::backward({output}, {gradient});
    gradient = input.grad();
    inputs.pop_back();
    for (std::size_t place = 0; place < sums.size(); ++place) {
      auto own = weights[i][place].narrow(0, begin, text.samples());
      if (sums[place].defined()) own.copy_(sums[place]);
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
