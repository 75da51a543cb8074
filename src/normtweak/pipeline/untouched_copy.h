// What was quantized, on disk while the tweak runs: a run that ends before its tweak does loses no more than the tweak.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>

#include "normtweak/base/progress.h"
#include "normtweak/pipeline/output_kind.h"

namespace normtweak::pipeline {

// OUT.untouched, past symbolic links; OUT.untouched.gguf if OUT is a GGUF file.
std::filesystem::path untouched_place(const std::filesystem::path& output, OutputKind kind);

// Owns what is there. It goes with remove(), and stays if the run ends in any other way.
class UntouchedCopy {
 public:
  // Calls `save` with that place, and notes where it is. If that fails, or if the disk has no room for as many bytes as
  // copy and result have, the run goes on without a copy, which is noted too.
  UntouchedCopy(const std::filesystem::path& place, OutputKind kind, const std::function<std::int64_t()>& bytes,
                const std::function<void(const std::filesystem::path& place)>& save, ProgressSink& progress);

  void remove() const;

 private:
  std::filesystem::path place_;  // empty: there is none
};

}  // namespace normtweak::pipeline
