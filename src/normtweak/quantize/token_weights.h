// Weights of the calibration tokens in the Hessians of a block's linears.
//
// Fisher weights: an error Δy_t in a linear's output at token t changes the model's loss by about ½ Δy_tᵀ F_t Δy_t.
// With F_t = w_t I, w_t the mean of (∂ℓ/∂y_t)² over the output channels, the layer error becomes
//     tr(ΔW H ΔWᵀ),   H = Σ_t w_t x_t x_tᵀ / Σ_t w_t
// ℓ is −log p of each next token, summed over the row. On text sampled from the model itself the mean squared gradient
// estimates the true Fisher information, otherwise the empirical one. The idea is GuidedQuant's (Kim et al., arXiv
// 2505.07004), which keeps a Hessian for each of several groups of output channels; here the channels of all linears at
// one place share one.
#pragma once
#include <ATen/core/Tensor.h>

#include <array>
#include <string_view>
#include <vector>

#include "normtweak/base/processes/processes.h"
#include "normtweak/base/progress.h"
#include "normtweak/calibrate/token_batch.h"
#include "normtweak/model/decoder.h"

namespace normtweak::quantize {

enum class TokenWeighting { none, fisher };

// For each kind of place in a block: f32 or bool [samples, tokens], or undefined if all tokens have equal weight. The
// experts at one kind of place share the weights, each with the tokens that reach it.
using BlockTokenWeights = std::array<at::Tensor, model::kPlaceKinds>;

// One forward and backward pass of `decoder`, block by block: each block's input is kept and the block is recomputed in
// the backward pass. The workspace limits the rows per pass. For each block, f32 [samples, tokens] on the CPU, with
// mean 1 over the unmasked tokens (1 for all if the loss does not depend on an input) and 0 for the others. The last
// token of a row predicts nothing and has weight 0. Each process holds its own rows; the mean is over all processes.
// Throws Error if rows have fewer than two tokens, or naming the block if a gradient is not finite.
std::vector<BlockTokenWeights> fisher_token_weights(const model::Decoder& decoder, const calibrate::TokenBatch& text,
                                                    ProgressSink& progress, const Processes& processes = {});

}  // namespace normtweak::quantize
