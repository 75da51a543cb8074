// What was quantized, on disk while the tweak runs: a run that ends before its tweak does loses no more than the tweak.
#pragma once
#include <filesystem>

#include "normtweak/base/progress.h"
#include "normtweak/model/checkpoint.h"
#include "normtweak/model/decoder.h"

namespace normtweak::pipeline {

// OUT.untouched, past symbolic links.
std::filesystem::path untouched_folder(const std::filesystem::path& output);

// Owns that folder. It goes with remove(), and stays if the run ends in any other way.
class UntouchedCopy {
 public:
  // Saves `quantized` with its codes, and notes where. If that fails, or if the disk has no room for the copy and the
  // result, which will take `result_bytes`, the run goes on without a copy, which is noted too.
  UntouchedCopy(const model::Checkpoint& original, const model::Decoder& quantized, const std::filesystem::path& output,
                std::int64_t result_bytes, ProgressSink& progress);

  void remove() const;

 private:
  std::filesystem::path folder_;  // empty: there is none
};

}  // namespace normtweak::pipeline
