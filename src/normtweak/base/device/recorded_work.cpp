#include "normtweak/base/device/recorded_work.h"

#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <utility>

#include "normtweak/base/device/library_symbol.h"
#include "normtweak/base/device/memory.h"

namespace normtweak {
namespace {

// torch's own class, at::cuda::CUDAGraph, takes temporaries from memory that stays the graph's. Its header needs the
// CUDA toolkit and its library is missing from torch's build for CPUs, so that members are found by their names, which
// say the types of their parameters: another signature is another name, and then nothing is recorded.
using Pool = std::pair<unsigned long long, unsigned long long>;
struct Members {
  void (*construct)(void* graph, bool keeps_description);
  void (*destroy)(void* graph);
  void (*begin)(void* graph, Pool pool, int mode);
  void (*end)(void* graph);
  void (*replay)(void* graph);
  Pool (*pool)(void* graph);
};

constexpr int kGlobalCapture = 0;              // cudaStreamCaptureModeGlobal, torch's default
constexpr std::size_t kMostGraphBytes = 4096;  // of the class, which has some 200

const Members* load_members() {
  static Members members = {};
  const auto find = [](const char* name, auto*& member) { return find_symbol(RTLD_DEFAULT, name, member); };
  const bool complete =
      find("_ZN2at4cuda9CUDAGraphC1Eb", members.construct) && find("_ZN2at4cuda9CUDAGraphD1Ev", members.destroy) &&
      find("_ZN2at4cuda9CUDAGraph13capture_beginESt4pairIyyE21cudaStreamCaptureMode", members.begin) &&
      find("_ZN2at4cuda9CUDAGraph11capture_endEv", members.end) &&
      find("_ZN2at4cuda9CUDAGraph6replayEv", members.replay) && find("_ZN2at4cuda9CUDAGraph4poolEv", members.pool);
  return complete ? &members : nullptr;
}

const Members* members_of_graph() {
  static const Members* const members = load_members();
  return members;
}

std::atomic<bool> has_failed = false;

// The default stream cannot be recorded. One for all, since libraries keep a workspace for each stream that they see.
c10::Stream recording_stream(c10::Device device) {
  static const auto stream = c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device);
  return stream.device() == device ? stream
                                   : c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device);
}

}  // namespace

bool can_record_work(c10::Device device) { return device.is_cuda() && members_of_graph() != nullptr && !has_failed; }

struct RecordedWork::Graph {
  Graph() : members(*members_of_graph()) { members.construct(storage.data(), false); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph() { members.destroy(storage.data()); }

  void record(const std::function<void()>& work, Graph* other) {
    const auto pool = other != nullptr ? members.pool(other->storage.data()) : Pool(0, 0);
    members.begin(storage.data(), pool, kGlobalCapture);
    try {
      work();
    } catch (...) {
      try {
        end();
      } catch (const c10::Error&) {  // says no more than that the recording broke off
      }
      throw;
    }
    end();
  }

  void end() {
    members.end(storage.data());
    ended = true;
  }

  const Members& members;
  alignas(std::max_align_t) std::array<std::byte, kMostGraphBytes> storage = {};
  bool ended = false;  // without an error
};

RecordedWork::RecordedWork(c10::Device device, const std::function<void()>& work, const RecordedWork* other)
    : graph_(std::make_unique<Graph>()) {
  release_cached_memory(device);  // what the same work took when it ran unrecorded
  const c10::StreamGuard recording(recording_stream(device));
  try {
    graph_->record(work, other != nullptr ? other->graph_.get() : nullptr);
  } catch (...) {
    has_failed = true;
    // After a refusal the allocator goes on asking the graph which memory is its own.
    if (!graph_->ended) static_cast<void>(graph_.release());
    throw;
  }
}

RecordedWork::RecordedWork(RecordedWork&&) noexcept = default;
RecordedWork& RecordedWork::operator=(RecordedWork&&) noexcept = default;
RecordedWork::~RecordedWork() = default;

void RecordedWork::run() { graph_->members.replay(graph_->storage.data()); }

}  // namespace normtweak
