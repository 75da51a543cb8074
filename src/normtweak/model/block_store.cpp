#include "normtweak/model/block_store.h"

#include <algorithm>

#include "normtweak/model/packed_codes.h"

namespace normtweak::model {

BlockStore::BlockStore(int count, Residence residence, std::function<Block(int)> load,
                       std::shared_ptr<BlockStreamer> streamer)
    : blocks_(static_cast<std::size_t>(count)),
      residence_(residence),
      put_residence_(residence),
      load_(std::move(load)),
      streamer_(std::move(streamer)) {}

BlockStore::Place BlockStore::placed(std::shared_ptr<const Block> block, Residence residence) const {
  if (residence == Residence::device || !streamer_) return {std::move(block), true};
  return {streamer_->to_host(*block), false};
}

std::shared_ptr<const Block> BlockStore::get(int index) const {
  const auto block = kept(index);
  if (blocks_[static_cast<std::size_t>(index)].on_device) return block;
  return streamer_->get(index, size(), [this](int i) {
    const auto& place = blocks_[static_cast<std::size_t>(i)];
    return place.on_device ? nullptr : place.block;
  });
}

std::shared_ptr<const Block> BlockStore::stored(int index) const {
  const auto block = kept(index);
  return has_packed_codes(*block) ? std::make_shared<const Block>(with_unpacked_codes(*block)) : block;
}

Block BlockStore::outlined(int index) const { return without_code_values(*kept(index)); }

weights::Weight BlockStore::weight(int index, std::size_t linear) const {
  return with_unpacked_codes(kept(index)->linears.at(linear).linear.weight);
}

std::shared_ptr<const Block> BlockStore::kept(int index) const {
  auto& place = blocks_.at(static_cast<std::size_t>(index));
  if (place.block) return place.block;
  auto loaded = std::make_shared<const Block>(load_(index));
  if (residence_ == Residence::file) return loaded;
  place = placed(std::move(loaded), residence_);
  return place.block;
}

void BlockStore::put(int index, std::shared_ptr<const Block> block) {
  blocks_.at(static_cast<std::size_t>(index)) = placed(std::move(block), put_residence_);
}

BlockStore BlockStore::brought_to_device() const {
  return {size(), Residence::device, [blocks = *this](int index) { return *blocks.get(index); }};
}

void BlockStore::release_copies() const {
  if (streamer_) streamer_->release();
}

bool BlockStore::all_on_device() const {
  return std::ranges::all_of(blocks_, [](const Place& place) { return place.block && place.on_device; });
}

}  // namespace normtweak::model
