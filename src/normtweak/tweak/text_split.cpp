#include <algorithm>

#include "normtweak/base/error.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/tweak/end_to_end.h"

namespace normtweak::tweak {

TextShares text_shares(std::int64_t rows) {
  const auto confirm = std::clamp<std::int64_t>(rows / 8, 2, 16), select = std::clamp<std::int64_t>(rows / 16, 1, 16);
  return {.train = rows - confirm - select, .select = select, .confirm = confirm};
}

TextSplit split_text(const calibrate::TokenBatch& text) {
  const auto samples = text.samples();
  if (samples < kLeastRows) {
    fail("{} of calibration text: at least {} are needed, since some are kept aside to judge the result",
         counted(samples, "row"), kLeastRows);
  }
  const auto shares = text_shares(samples);
  return {rows(text, 0, shares.train), rows(text, shares.train, shares.select),
          rows(text, shares.train + shares.select, shares.confirm)};
}

}  // namespace normtweak::tweak
