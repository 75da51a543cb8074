// Writes a tweaked model as the file that it came from, in which only tuned floats differ: codes, all other tensors,
// metadata, tokenizer and layout are those of the original, since its bytes are copied.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

#include "normtweak/model/decoder.h"

namespace normtweak::pipeline {

struct PatchTargets {
  std::filesystem::path file;   // the whole model; empty: not written
  std::filesystem::path patch;  // only what changed (formats/patch_file.h); empty: not written
};

// decoder: `original`, loaded with its codes, with other floats. base: the file's bytes, mapped when it was opened, so
// that a file that took its name meanwhile is not mixed with it. Both files are written atomically. Throws Error naming
// the tensor if a float does not fit into its dtype in the file.
void save_patched(const model::Checkpoint& original, std::span<const std::byte> base, const model::Decoder& decoder,
                  const PatchTargets& targets);

// Applies a patch file to the file that it was made for; returns how many bytes it replaces. Throws Error if `base` is
// another one.
std::int64_t apply_patch(const std::filesystem::path& base, const std::filesystem::path& patch,
                         const std::filesystem::path& output);

}  // namespace normtweak::pipeline
