// How many rows go through the model at a time, and whether their activations are kept for the way back.
#pragma once
#include <cstdint>

#include "normtweak/model/decoder.h"

namespace normtweak::tweak {

struct PassSize {
  std::int64_t rows = 1;         // in one pass forward and backward
  bool keep_activations = true;  // false: each block runs once more on the way back
};

// batch_rows: rows of a step. bytes: that activations may take; 0: what fits this device.
PassSize pass_size(const model::Decoder& decoder, std::int64_t row_tokens, std::int64_t batch_rows, std::int64_t bytes);

}  // namespace normtweak::tweak
