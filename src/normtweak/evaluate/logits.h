// Shared by the tasks: chunk sizes, and log probabilities without a second copy of the logits.
#pragma once
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "normtweak/model/branched_rows.h"
#include "normtweak/model/decoder.h"

namespace normtweak::evaluate {

// Rows of this many tokens per forward pass. branched: they may be branched rows.
std::int64_t rows_in_pass(const model::Decoder& model, std::int64_t tokens, bool branched = false);

// Tokens whose logits exist at the same time.
std::int64_t tokens_in_chunk(const model::Decoder& model);

// Calls work(begin, count) for consecutive chunks of `tokens`.
template <class Work>
void for_chunks(const model::Decoder& model, std::int64_t tokens, Work&& work) {
  const auto chunk = tokens_in_chunk(model);
  for (std::int64_t begin = 0; begin < tokens; begin += chunk) work(begin, std::min(chunk, tokens - begin));
}

// Turns logits [tokens, vocabulary] into log probabilities, in place.
void log_softmax_in_place(at::Tensor& logits);

// values: f32 [tokens, vocabulary], ids: i64 [tokens] → f32 [tokens]
at::Tensor at_ids(const at::Tensor& values, const at::Tensor& ids);

// Throws Error, naming the block, unless `sum` is finite: a sum of figures computed from the logits of `model` for ids
// (i64 [rows, tokens]). whose: "the model", ..., or "" if there is only one. branches: of branched rows.
void check_finite(double sum, const model::Decoder& model, std::string_view whose, const at::Tensor& ids,
                  const model::BranchedRows* branches = nullptr);

}  // namespace normtweak::evaluate
