// Writes a tweaked model as the files that it came from, in which only tuned floats differ: codes, all other tensors,
// metadata, tokenizer and layout are those of the original, since its bytes are copied.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "normtweak/base/files/file.h"
#include "normtweak/base/progress.h"
#include "normtweak/model/decoder.h"

namespace normtweak::pipeline {

struct PatchTargets {
  std::filesystem::path model;  // the whole model, a folder or a file as it was; empty: not written
  std::filesystem::path patch;  // only what changed (formats/patch_file.h); empty: not written
};

// The files of a model that hold tensors, mapped when it was opened, so that files that took their names meanwhile are
// not mixed with them.
class BaseFiles {
 public:
  explicit BaseFiles(const model::Checkpoint& checkpoint);
  const std::vector<MappedFile>& all() const { return files_; }

 private:
  std::vector<MappedFile> files_;
};

// The bytes of a copy of the model: of its folder all files, of folders in it none.
std::int64_t copied_bytes(const model::Checkpoint& original);

// Adds a note if the folder of the model holds folders, which a copy will lack.
void note_folders_left(const model::Checkpoint& original, ProgressSink& progress);

// decoder: `original`, loaded with its codes, with other floats. Everything is written atomically. Throws Error naming
// the tensor if a float does not fit into its dtype in the file.
void save_patched(const model::Checkpoint& original, const BaseFiles& base, const model::Decoder& decoder,
                  const PatchTargets& targets);

// Applies a patch file to the file or folder that it was made for; returns how many bytes it replaces. Throws Error if
// `base` is another one.
std::int64_t apply_patch(const std::filesystem::path& base, const std::filesystem::path& patch,
                         const std::filesystem::path& output);

}  // namespace normtweak::pipeline
