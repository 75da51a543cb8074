// A calibration batch and its file: rows of token ids with their provenance.
//
// safetensors with `input_ids` i64 [samples, tokens] and, if rows differ in length, `attention_mask` of the same shape
// (1 = token, 0 = padding, on the right); the provenance is in the metadata.
#pragma once
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>

namespace normtweak::calibrate {

struct TokenBatch {
  at::Tensor ids;                                 // i64 [samples, tokens], on the CPU
  at::Tensor mask;                                // bool of the same shape, or undefined: every token counts
  std::map<std::string, std::string> provenance;  // how the text was made: strategy, seed, model, ...

  std::int64_t samples() const { return ids.size(0); }
  std::int64_t tokens() const { return ids.size(1); }
};

// Rows [begin, begin + count).
TokenBatch rows(const TokenBatch& batch, std::int64_t begin, std::int64_t count);

// `attention_mask` is optional; ids may be integers of any width. Throws Error naming file and tensor if ids are not a
// matrix, lie outside [0, vocabulary), or are padded on the left.
TokenBatch load_token_batch(const std::filesystem::path& path, std::int64_t vocabulary);

// Writes atomically.
void save_token_batch(const std::filesystem::path& path, const TokenBatch& batch);

}  // namespace normtweak::calibrate
