// Rows that hold several texts with a common beginning: it stands once, and after it what follows in each text, one
// branch behind the other. A branch sees the beginning and itself, at the positions that its tokens have in its text,
// so that every hidden state is that of the text alone.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>

#include "normtweak/model/block.h"

namespace normtweak::model {

struct BranchedRows {
  at::Tensor positions;     // i64 [rows, tokens]: of each token in its text
  at::Tensor branches;      // i64 [rows, tokens]: 0 in the beginning, then 1, 2, ...; of padding, any but 0
  std::int64_t length = 0;  // tokens of the longest text
};

// What a pass over branched rows takes besides that over plain ones, in bytes per token: masks of rows of `tokens`
// tokens, and what they are made of.
std::int64_t branch_bytes(const ModelConfig& config, at::ScalarType type, std::int64_t tokens);

// Masks of one pass, kept from block to block. Not thread-safe.
class BranchMasks {
 public:
  explicit BranchMasks(const BranchedRows& rows) : rows_(rows) {}

  const BranchedRows& rows() const { return rows_; }

  // bool [rows, 1, tokens, tokens]: which tokens the token of each row attends to; with ALiBi, `type` [rows, heads,
  // tokens, tokens]: what is added to the scores. window: see LayerFacts.
  const at::Tensor& of_window(std::int64_t window, const ModelConfig& config, const at::TensorOptions& type) const;

 private:
  const BranchedRows& rows_;
  mutable std::map<std::int64_t, at::Tensor> masks_;
};

// Attention as in attention.h, of branched rows without earlier tokens.
at::Tensor attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, const ModelConfig& config,
                  const LayerFacts& layer, const BranchMasks& branches);

// A block as in block.h, on branched rows. The context has neither a cache nor a start.
at::Tensor forward(const Block& block, const at::Tensor& hidden, const BlockContext& context,
                   const BranchMasks& branches);

}  // namespace normtweak::model
