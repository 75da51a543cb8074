// Writes a quantized model as a directory that readers of Hugging Face checkpoints open.
#pragma once
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/model/checkpoint.h"
#include "normtweak/model/decoder.h"

namespace normtweak::pipeline {

struct SaveFormat {
  std::string_view name, description;
  bool holds_codes;  // false: an export, from which codes cannot be had back
};
std::span<const SaveFormat> save_formats();
const SaveFormat& find_save_format(std::string_view name);  // throws Error listing them

// decoder: what `original` became. Tensors that did not change, config.json's other keys and the tokenizer's files are
// taken over as they are, and so is a head that `original` holds packed, unless `format` holds no codes. The directory
// appears, or replaces an older one, all at once. What changed is packed or dequantized one tensor at a time.
void save_checkpoint(const model::Checkpoint& original, const model::Decoder& decoder,
                     const std::filesystem::path& directory, const SaveFormat& format);

// Names of what `directory` holds and save_checkpoint() did not put there, in order; nothing if it may be replaced. A
// save is known by what the metadata of its weights say; where no weights are there, everything is another's.
std::vector<std::string> foreign_entries(const std::filesystem::path& directory);

// Bytes that save_checkpoint() will write at most, about, if floats are to be stored in `stored`; for checking the disk
// before the work.
std::int64_t estimated_bytes(const model::Checkpoint& original, at::ScalarType stored);

}  // namespace normtweak::pipeline
