// The blocks of a decoder, obtained one by one: a model need not fit its device, nor the machine's memory.
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "normtweak/model/block.h"
#include "normtweak/model/block_streamer.h"

namespace normtweak::model {

enum class Residence {
  device,  // every block stays on the device once it is there
  host,    // blocks lie in host memory; the device holds the one in use and the next
  file,    // a block is read whenever it is asked for, and kept only as long as it is in use
};

// A block that was put in replaces the checkpoint's. Copies of a store share blocks, but not what is put in later.
class BlockStore {
 public:
  BlockStore() = default;
  // load: reads a block, with residence `host` to host memory, otherwise to the device. streamer: brings blocks from
  // host memory to the device; null where the device is the CPU, which uses them where they lie.
  BlockStore(int count, Residence residence, std::function<Block(int)> load,
             std::shared_ptr<BlockStreamer> streamer = nullptr);

  int size() const { return static_cast<int>(blocks_.size()); }

  // On the device. Keep the pointer as long as the block is in use, and no longer: a graph of autograd that saves its
  // weights keeps them on the device, too.
  std::shared_ptr<const Block> get(int index) const;

  // Wherever it lies: for reading it without using it.
  std::shared_ptr<const Block> stored(int index) const;

  // The block goes where the store keeps its blocks; with residence `file`, to host memory.
  void put(int index, std::shared_ptr<const Block> block);

  // Where blocks go that are put in from now on; others stay where they are.
  void keep_new(Residence residence) { put_residence_ = residence; }

  // Whether get() always returns what stays on the device anyway.
  bool all_on_device() const;

 private:
  struct Place {
    std::shared_ptr<const Block> block;  // null: not read yet, or not kept
    bool on_device = true;
  };

  Place placed(std::shared_ptr<const Block> block, Residence residence) const;

  mutable std::vector<Place> blocks_;
  Residence residence_ = Residence::device, put_residence_ = Residence::device;
  std::function<Block(int)> load_;
  std::shared_ptr<BlockStreamer> streamer_;
};

}  // namespace normtweak::model
