// Perplexity protocols: how a text is cut into rows before it is scored. Their figures are not comparable.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/calibrate/token_batch.h"

namespace normtweak::evaluate {

// `gptq`: the text tokenized once, cut into windows of `context` tokens that do not overlap; the rest is dropped.
// `max_tokens`: only so many from the front, rounded down to whole windows; 0: all. At least one window is needed:
// throws Error naming `origin`, the tokens needed and found.
calibrate::TokenBatch gptq_windows(const std::vector<std::int64_t>& ids, std::int64_t context, std::int64_t max_tokens,
                                   std::string_view origin);

}  // namespace normtweak::evaluate
