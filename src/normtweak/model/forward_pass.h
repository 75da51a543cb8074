// The pass through a whole model: embedding, blocks, final norm, head. Whatever runs a decoder goes through these
// steps.
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "normtweak/model/branched_rows.h"
#include "normtweak/model/decoder.h"

namespace normtweak::model {

struct PassOptions {
  std::int64_t start = 0;                       // position of the first token
  std::vector<KeyValueCache>* cache = nullptr;  // for decoding, one per block; null: no earlier tokens
  const BranchedRows* branches = nullptr;       // where rows hold several texts, without a start; null: one each
  // Runs a block in the place of the decoder's own; null: that.
  std::function<at::Tensor(int block, const at::Tensor& hidden)> run = {};
  // Gets the input of each block before it runs; returns what the block gets in its place. Null: the input.
  std::function<at::Tensor(int block, const at::Tensor& hidden)> see = {};
};

// The context for a pass over whole rows (no cache) with this decoder.
BlockContext block_context(const Decoder& decoder);

// ids: i64 [samples, tokens] → f32 [samples, tokens, hidden], the input of the first block. Of the options, those count
// that say at which positions the tokens are.
at::Tensor embed(const Decoder& decoder, const at::Tensor& ids, const PassOptions& options = {});

// The output of the last block, f32 [samples, tokens, hidden].
at::Tensor through_blocks(const Decoder& decoder, const at::Tensor& ids, const PassOptions& options = {});

// hidden: the output of the last block → the head's input, [samples, tokens, embedding] in the compute dtype. The norm
// is given, since it may be another than the decoder's.
at::Tensor finish(const Decoder& decoder, const Norm& final_norm, const at::Tensor& hidden);

// All of it up to the head: ids: i64 [samples, tokens] → [samples, tokens, embedding] in the compute dtype.
at::Tensor last_hidden_state(const Decoder& decoder, const at::Tensor& ids, const PassOptions& options = {});

}  // namespace normtweak::model
