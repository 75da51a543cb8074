// What was quantized, on disk while the tweak runs: a run that ends before its tweak does loses no more than the tweak.
#pragma once
#include <c10/core/Device.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <future>

#include "normtweak/base/progress.h"
#include "normtweak/pipeline/output_kind.h"

namespace normtweak::pipeline {

// OUT.untouched, past symbolic links; OUT.untouched.gguf if OUT is a GGUF file.
std::filesystem::path untouched_place(const std::filesystem::path& output, OutputKind kind);

// What a copy and the result take, in bytes.
struct CopySizes {
  std::int64_t copy = 0, result = 0;
  bool becomes_result = false;  // the copy has its format, and is moved and changed to become it where it can be
};

// The bytes that the disk must have room for while there are a copy at `place` and a result at `output`: those of the
// result only if it is written beside the copy, on the same disk.
std::int64_t room_for_copy(const std::filesystem::path& place, const std::filesystem::path& output,
                           const CopySizes& sizes);

// Owns what is there. It goes with remove(), and stays if the run ends in any other way.
class UntouchedCopy {
 public:
  // Calls `save` with that place, and notes where it is. If that fails, or if the disk has no room for `bytes`, those
  // of room_for_copy(), the run goes on without a copy, which is noted too. device: of the model. While a GPU goes on,
  // a thread of the host packs, copies and writes, on a stream of its own that waits for what was queued before. The
  // sink is used in the calling thread alone.
  UntouchedCopy(const std::filesystem::path& place, OutputKind kind, const std::function<std::int64_t()>& bytes,
                std::function<void(const std::filesystem::path& place)> save, c10::Device device,
                ProgressSink& progress);

  // For the end of saving.
  void wait();

  // The same wait, if need be. Returns the path of the copy that is to become the result, if it can: it lies in
  // the same folder, and its new name is free; otherwise an empty path. It is moved to OUT.unfinished first, so that
  // what is called untouched always is: if the last step fails, that place holds the quantized model with some of the
  // tweaked floats.
  std::filesystem::path take_for(const std::filesystem::path& output);

  // The same wait, if need be. There may be none any more.
  void remove();

 private:
  void finish(const std::function<void()>& saving);

  ProgressSink& progress_;
  std::filesystem::path place_;  // empty: there is none
  std::future<void> saving_;     // not valid once it has ended; its destructor waits
};

}  // namespace normtweak::pipeline
