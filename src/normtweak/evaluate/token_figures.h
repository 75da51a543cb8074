// Figures of predicted tokens, of several models and a reference in one pass: what every task is scored with.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "normtweak/model/branched_rows.h"
#include "normtweak/model/decoder.h"

namespace normtweak::evaluate {

// Rows of tokens, and the positions in them that are scored.
struct Pass {
  at::Tensor ids;                                    // i64 [rows, tokens] on the device, padded on the right
  std::optional<model::BranchedRows> branches = {};  // on the device, where rows hold several texts
  at::Tensor places;  // i64 [positions] on the device: in the flattened `ids`; undefined: all of them
  at::Tensor next;    // i64 [positions] on the device: the token to predict at each
};

// f32 [positions] on the CPU. Views of one table, so that a single copy brings all of them to the host.
struct TokenFigures {
  at::Tensor likelihood;  // the log probability of the next token, in nats
  at::Tensor greedy;      // 1 if no token is likelier than it
  at::Tensor divergence;  // KL(reference ‖ model) in nats
  at::Tensor agreement;   // 1 if both have the same likeliest next token
};

struct TokenFigureOptions {
  const model::Decoder* reference = nullptr;  // null: neither divergence nor agreement
  bool greedy = false;                        // whether that is wanted: it takes another pass over the logits
};

// Of each model, and then of the reference if there is one (its likelihood and greedy alone); what is not asked for
// holds no values. The models share device and vocabulary. Logits exist for one chunk of positions at a time. Throws
// Error, naming the block, if they are not finite.
std::vector<TokenFigures> token_figures(const std::vector<const model::Decoder*>& models, const Pass& pass,
                                        const TokenFigureOptions& options);

}  // namespace normtweak::evaluate
