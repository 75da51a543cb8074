// How much each token of the calibration text counts in the Hessians of a block's linears.
//
// Fisher weights: an error Δy_t in a linear's output at token t changes the model's loss by about ½ Δy_tᵀ F_t Δy_t.
// With F_t = w_t I, w_t the mean of (∂ℓ/∂y_t)² over the output channels, the layer error becomes
//     tr(ΔW H ΔWᵀ),   H = Σ_t w_t x_t x_tᵀ / Σ_t w_t
// ℓ is −log p of each next token, summed over the row. On text that the model itself wrote its mean square is the true
// Fisher information, else the empirical one. The idea is GuidedQuant's (Kim et al., arXiv 2505.07004), which keeps a
// Hessian for each of several groups of output channels; here the channels of all linears at one place share one.
#pragma once
#include <ATen/core/Tensor.h>

#include <array>
#include <string_view>
#include <vector>

#include "normtweak/base/processes.h"
#include "normtweak/base/progress.h"
#include "normtweak/calibrate/token_batch.h"
#include "normtweak/model/decoder.h"

namespace normtweak::quantize {

enum class TokenWeighting { none, fisher };

// For each of the four inputs of a block: f32 or bool [samples, tokens], or undefined where all tokens count alike.
using BlockTokenWeights = std::array<at::Tensor, model::kLinearInputs>;

// One pass forward and backward of `decoder`, block by block: each block's input is kept and the block runs once more
// on the way back; as many rows at a time as the decoder's workspace has room for. For each block, f32 [samples,
// tokens] on the CPU, with mean 1 over the tokens that the mask leaves (1 for all where the loss does not depend on a
// place), 0 for the others. The last token of a row predicts nothing and has weight 0. Processes hold rows each; the
// mean is that over all of them. Throws Error if rows have less than two tokens, or naming the block where a gradient
// is not finite.
std::vector<BlockTokenWeights> fisher_token_weights(const model::Decoder& decoder, const calibrate::TokenBatch& text,
                                                    ProgressSink& progress, const Processes& processes = {});

}  // namespace normtweak::quantize
