// Counts the bytes of CPU tensors while it exists: what estimates of memory are held against.
#pragma once
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <utility>

namespace normtweak::tests {

// One at a time. Tensors may outlive it. LibTorch's kernels may take and give back memory on threads of their own.
class CountedMemory {
 public:
  CountedMemory() : former_(c10::GetCPUAllocator()) {
    counter().former = former_;
    counter().live = counter().peak = counter().made = 0;
    c10::SetCPUAllocator(&counter(), kPriority);
  }
  CountedMemory(const CountedMemory&) = delete;
  CountedMemory& operator=(const CountedMemory&) = delete;
  ~CountedMemory() { c10::SetCPUAllocator(former_, kPriority); }

  // Of the tensors that were made since the start.
  std::int64_t live() const { return counter().live; }
  std::int64_t peak() const { return counter().peak; }
  std::int64_t allocations() const { return counter().made; }
  void forget_peak() { counter().peak = counter().live; }

 private:
  static constexpr std::uint8_t kPriority = 255;

  struct Piece {
    c10::DataPtr data;
    std::int64_t bytes;
  };

  // A piece's context is its start, as some of LibTorch's kernels demand.
  struct Counter : c10::Allocator {
    c10::DataPtr allocate(std::size_t count) override {
      auto data = former->allocate(count);
      void* const start = data.get();
      if (start == nullptr) return data;
      const auto bytes = static_cast<std::int64_t>(count);
      const std::lock_guard lock(mutex);
      pieces.emplace(start, Piece{std::move(data), bytes});
      live += bytes;
      ++made;
      peak = std::max(peak, live);
      return {start, start, &give_back, c10::Device(c10::kCPU)};
    }
    c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
    void copy_data(void* to, const void* from, std::size_t count) const override { default_copy_data(to, from, count); }

    static void give_back(void* start) {
      auto& self = counter();
      decltype(self.pieces)::node_type piece;  // freed after the lock: its memory may be handed out again at once
      const std::lock_guard lock(self.mutex);
      piece = self.pieces.extract(start);
      self.live -= piece.mapped().bytes;
    }

    std::mutex mutex;
    std::unordered_map<void*, Piece> pieces;
    c10::Allocator* former = nullptr;
    std::int64_t live = 0, peak = 0, made = 0;
  };
  static Counter& counter() {
    static Counter the_counter;
    return the_counter;
  }

  c10::Allocator* former_;
};

}  // namespace normtweak::tests
