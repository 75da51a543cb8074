// Streams blocks from host memory to a GPU, one at a time. While a block computes, the next one is copied. Their codes
// are packed in host memory and on the way (packed_codes.h), and unpacked when a block is needed.
#pragma once
#include <c10/core/Device.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <functional>
#include <memory>
#include <optional>

#include "normtweak/model/block.h"

namespace normtweak::model {

// Predicts the next block from the direction of the last two accesses.
class NextBlock {
 public:
  // Records an access to block `index` of `count`; returns its likely successor, or -1 at the end.
  int after(int index, int count);

 private:
  int previous_ = -1, direction_ = 1;
};

// Synchronisation of the two streams. The destination of a copy is allocated on the compute stream and freed there, so
// that blocks are freed in compute order and at most the memory of two blocks is in use, however far the host runs
// ahead. The copy stream waits for all work that was queued on the compute stream before the allocation, since that
// work may still use the memory. The compute stream waits for the copy before a block is returned, and also before an
// unused copy is freed.
//
// All calls must be made with the same current stream on the device.
class BlockStreamer {
 public:
  using HostBlock = std::shared_ptr<const Block>;  // with packed codes

  // On a CPU, blocks are copied synchronously, for tests.
  explicit BlockStreamer(c10::Device device);
  ~BlockStreamer();
  BlockStreamer(const BlockStreamer&) = delete;
  BlockStreamer& operator=(const BlockStreamer&) = delete;

  // A copy in host memory, with packed codes, pinned if the device is a GPU (the pinned-memory allocator rounds sizes
  // up to powers of two). Tensors shared with the block returned last are not copied; those of its host block are used.
  HostBlock to_host(const Block& block) const;

  // Block `index` of `count` on the device. find(i): block i in host memory, or null if it is not there. Between calls,
  // the block returned last and its likely successor stay on the device.
  std::shared_ptr<const Block> get(int index, int count, const std::function<HostBlock(int)>& find);

  // Frees the blocks on the device; the next get() copies its block again.
  void release();

  struct Counts {
    int uploads = 0;  // copies begun
    int ahead = 0;    // of those, prefetched and then used
    int useless = 0;  // prefetched and never used
  };
  const Counts& counts() const { return counts_; }

 private:
  struct Upload {
    HostBlock host;
    std::shared_ptr<const Block> block;  // on the device; with packed codes until it is used
    std::optional<c10::Event> copied;    // nullopt on a CPU, where copies are synchronous
  };

  Upload begin(HostBlock host);
  void wait_for(const Upload& upload) const;
  void drop_ahead();

  c10::Device device_;
  std::optional<c10::Stream> copies_;  // nullopt on a CPU
  NextBlock next_;
  Upload current_, ahead_;
  Counts counts_;
};

}  // namespace normtweak::model
