// Rows per pass, and whether their activations are kept for the backward pass.
#pragma once
#include <cstdint>

#include "normtweak/model/decoder.h"

namespace normtweak::tweak {

struct PassSize {
  std::int64_t rows = 1;         // per forward and backward pass
  bool keep_activations = true;  // false: each block is recomputed in the backward pass
  std::int64_t bytes = 0;        // that the pass keeps for its backward pass
};

// batch_rows: rows per step. bytes: memory for activations; 0: what fits this device. together: passes that make up a
// step go through the backward pass together, as where codes are learned (Student::backward()): each block's inputs of
// all rows are kept.
PassSize pass_size(const model::Decoder& decoder, std::int64_t row_tokens, std::int64_t batch_rows, std::int64_t bytes,
                   bool together = false);

}  // namespace normtweak::tweak
