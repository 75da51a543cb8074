// The blocks of a decoder, accessed one at a time, so that a model need not fit its device or the machine's memory.
#pragma once
#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "normtweak/model/block.h"
#include "normtweak/model/block_streamer.h"

namespace normtweak::model {

enum class Residence {
  device,  // every block stays on the device once loaded
  host,    // blocks are in host memory; the device holds the one in use and the next
  file,    // a block is read on every access, and kept only while in use
};

// A block that was set replaces the checkpoint's. Copies of a store share blocks, but not later replacements.
class BlockStore {
 public:
  BlockStore() = default;
  // load: reads a block, into host memory if the residence is `host`, otherwise to the device. streamer: copies blocks
  // from host memory to the device; null if the device is the CPU.
  BlockStore(int count, Residence residence, std::function<Block(int)> load,
             std::shared_ptr<BlockStreamer> streamer = nullptr);

  int size() const { return static_cast<int>(blocks_.size()); }

  // The block on the device. Keep the pointer only while the block is in use. An autograd graph that saves the block's
  // weights keeps them on the device as well.
  std::shared_ptr<const Block> get(int index) const;

  // The block wherever it resides, for inspection without computing. Codes that are packed in host memory are unpacked
  // there, each time.
  std::shared_ptr<const Block> stored(int index) const;

  // The same, with codes that have a shape and no values.
  Block outlined(int index) const;

  // The weight of a block's linear, of which there is a list: unpacked alone.
  weights::Weight weight(int index, std::size_t linear) const;

  // Reads a block that is to be kept, unless that was done.
  void load(int index) const { kept(index); }

  // Replaces a block. It is kept where the store keeps its blocks; with residence `file`, in host memory.
  void put(int index, std::shared_ptr<const Block> block);

  // Where blocks set from now on are kept; others stay where they are.
  void keep_new(Residence residence) { put_residence_ = residence; }

  // The same blocks for as long as the copy lives, all of which stay on the device: each is copied there, or read from
  // its file, on first access.
  BlockStore brought_to_device() const;

  // Frees the copies of streamed blocks that are on the device; the next get() makes them again.
  void release_copies() const;

  // Whether all blocks stay on the device, so that get() never copies or reads.
  bool all_on_device() const;

 private:
  struct Place {
    std::shared_ptr<const Block> block;  // null: not read yet, or not kept
    bool on_device = true;
  };

  // As it is kept, with packed codes in host memory.
  std::shared_ptr<const Block> kept(int index) const;
  Place placed(std::shared_ptr<const Block> block, Residence residence) const;

  mutable std::vector<Place> blocks_;
  Residence residence_ = Residence::device, put_residence_ = Residence::device;
  std::function<Block(int)> load_;
  std::shared_ptr<BlockStreamer> streamer_;
};

}  // namespace normtweak::model
