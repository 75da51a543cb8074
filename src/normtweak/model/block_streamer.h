// Blocks that lie in host memory, brought to a GPU one at a time. While a block computes, the next one is copied.
#pragma once
#include <c10/core/Device.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <functional>
#include <memory>
#include <optional>

#include "normtweak/model/block.h"

namespace normtweak::model {

// Guesses which block is asked for next: the one beyond the last two that were asked for.
class NextBlock {
 public:
  // Notes that block `index` of `count` was asked for; its likely successor comes back, or -1 at the end.
  int after(int index, int count);

 private:
  int previous_ = -1, direction_ = 1;
};

// How two streams keep in step. A copy takes its memory from the stream that computes, which is where that memory goes
// back to: so a block is freed in the order of the computation, and what two blocks take is all that is ever taken,
// however far the host runs ahead. The copying stream waits for what the computing stream was given before the memory
// was taken, since that work may still use it. The computing stream waits for the copy before a block is handed out,
// and also before a copy that turned out useless is freed.
//
// All calls come with the same current stream on the device.
class BlockStreamer {
 public:
  using HostBlock = std::shared_ptr<const Block>;

  // On a CPU, blocks are copied all the same, one after the other: for tests.
  explicit BlockStreamer(c10::Device device);
  ~BlockStreamer();
  BlockStreamer(const BlockStreamer&) = delete;
  BlockStreamer& operator=(const BlockStreamer&) = delete;

  // A copy in host memory, pinned for a GPU (the allocator of pinned memory rounds sizes up to powers of two). Tensors
  // that the block shares with the one handed out last are not copied: those of that one's host block are taken.
  HostBlock to_host(const Block& block) const;

  // Block `index` of `count` on the device. find(i): block i in host memory, or null if it does not lie there. Between
  // calls, the block handed out last and the one that probably follows stay on the device.
  std::shared_ptr<const Block> get(int index, int count, const std::function<HostBlock(int)>& find);

  struct Counts {
    int uploads = 0;  // copies begun
    int ahead = 0;    // of those, handed out after they had been begun ahead
    int useless = 0;  // begun ahead and never handed out
  };
  const Counts& counts() const { return counts_; }

 private:
  struct Upload {
    HostBlock host;
    std::shared_ptr<const Block> block;
    std::optional<c10::Event> copied;  // nothing on a CPU, where copies are complete at once
  };

  Upload begin(HostBlock host);
  void wait_for(const Upload& upload) const;
  void drop_ahead();

  c10::Device device_;
  std::optional<c10::Stream> copies_;  // nothing on a CPU
  NextBlock next_;
  Upload current_, ahead_;
  Counts counts_;
};

}  // namespace normtweak::model
