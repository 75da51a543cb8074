// Perplexity protocols: how a text is cut into rows before it is scored. Their figures are not comparable.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/calibrate/token_batch.h"

namespace normtweak::evaluate {

// `gptq`: the text is tokenized once and cut into non-overlapping windows of `context` tokens; the remainder is
// dropped. max_tokens: at most this many, from the start, rounded down to whole windows; 0: all. Throws Error naming
// `origin`, the tokens needed and found if there is not one whole window.
calibrate::TokenBatch gptq_windows(const std::vector<std::int64_t>& ids, std::int64_t context, std::int64_t max_tokens,
                                   std::string_view origin);

}  // namespace normtweak::evaluate
