// Work on a GPU that is recorded once and then launched as a whole: a CUDA graph. A step of a small model is thousands
// of kernels, each of which takes the host longer to launch than the GPU to run.
#pragma once
#include <c10/core/Device.h>

#include <functional>
#include <memory>

namespace normtweak {

// Whether work on this device can be recorded: it is a GPU, this torch has what it takes, and no recording has failed.
bool can_record_work(c10::Device device);

class RecordedWork {
 public:
  // Calls `work`, which launches what is to be recorded on the current stream, without running any of it. It must not
  // wait for the GPU nor copy from host memory; what it launches must have run before, so that all kernels are loaded;
  // and tensors that it reads or writes must stay where they are as long as this lives. Temporaries keep their memory
  // until then, but work that shares it with `other` may run in the same memory: of what was computed there, only what
  // is read before the other runs is there.
  // Throws what `work` throws, and c10::Error if CUDA refuses. torch's allocator is not sure to be as before then, so
  // that from then on can_record_work() says no.
  RecordedWork(c10::Device device, const std::function<void()>& work, const RecordedWork* other = nullptr);
  RecordedWork(RecordedWork&&) noexcept;
  RecordedWork& operator=(RecordedWork&&) noexcept;
  ~RecordedWork();

  // Launches it on the current stream.
  void run();

 private:
  struct Graph;
  std::unique_ptr<Graph> graph_;
};

}  // namespace normtweak
