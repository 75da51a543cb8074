// Whether a calibration text occurs in a text that figures are reported on: those figures would flatter the result.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

#include "normtweak/calibrate/token_batch.h"

namespace normtweak::calibrate {

// How many rows of `text` have a part of 32 tokens that `other` holds as well (all its ids in order, i64 on the CPU, of
// any shape). Rows are looked up in parts of 32 tokens, so that 63 tokens in common are always found; the parts are
// shorter where the rows or `other` are, but have at least 8 tokens, below which chance would find some. Tokens are
// compared, not files: it does not matter what a file is called, or which program cut the rows.
std::int64_t rows_seen_in(const at::Tensor& other, const TokenBatch& text);

}  // namespace normtweak::calibrate
