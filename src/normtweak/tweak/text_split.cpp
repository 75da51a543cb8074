#include <algorithm>

#include "normtweak/base/error.h"
#include "normtweak/tweak/end_to_end.h"

namespace normtweak::tweak {

TextSplit split_text(const calibrate::TokenBatch& text) {
  const auto samples = text.samples();
  if (samples < 4) {
    fail(
        "{} rows of calibration text: at least 4 are needed, since some are kept aside to judge the result; use more "
        "--samples",
        samples);
  }
  const auto confirm = std::clamp<std::int64_t>(samples / 8, 2, 16),
             select = std::clamp<std::int64_t>(samples / 16, 1, 16);
  const auto train = samples - confirm - select;
  return {rows(text, 0, train), rows(text, train, select), rows(text, train + select, confirm)};
}

}  // namespace normtweak::tweak
