#include "normtweak/evaluate/protocols.h"

#include <ATen/ops/tensor.h>

#include <algorithm>

#include "normtweak/base/error.h"
#include "normtweak/base/strings/wording.h"

namespace normtweak::evaluate {

calibrate::TokenBatch gptq_windows(const std::vector<std::int64_t>& ids, std::int64_t context, std::int64_t max_tokens,
                                   std::string_view origin) {
  if (context < 2) fail_usage("--context {}: at least 2 tokens are needed", context);
  if (max_tokens > 0 && max_tokens < context) {
    fail_usage("--max-tokens {}: less than one window of {}; give more or a smaller --context", max_tokens, context);
  }
  const auto found = static_cast<std::int64_t>(ids.size());
  if (found < context) {
    fail("{}: {}, shorter than one window of {}; give more text or a smaller --context", origin,
         counted(found, "token"), context);
  }
  const auto windows = (max_tokens > 0 ? std::min(found, max_tokens) : found) / context;
  const auto all = at::tensor(ids, at::kLong).narrow(0, 0, windows * context);
  return {.ids = all.view({windows, context}), .mask = {}, .provenance = {}};
}

}  // namespace normtweak::evaluate
