#include "normtweak/model/block_streamer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <cstdlib>
#include <utility>
#include <vector>

#include "normtweak/model/packed_codes.h"

namespace normtweak::model {
namespace {

std::vector<at::Tensor> tensors(const Block& block) {
  std::vector<at::Tensor> all;
  map_tensors(block, [&](const at::Tensor& tensor) { return all.emplace_back(tensor); });
  return all;
}

}  // namespace

int NextBlock::after(int index, int count) {
  const int step = index - previous_;
  if (std::abs(step) == 1) {
    direction_ = step;
  } else if (index == 0 || index == count - 1) {  // a new pass or the backward pass begins here
    direction_ = index == 0 ? 1 : -1;
  }
  previous_ = index;
  const int next = index + direction_;
  return next >= 0 && next < count ? next : -1;
}

BlockStreamer::BlockStreamer(c10::Device device) : device_(device) {
  if (!device.is_cpu()) copies_ = c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device);
}

BlockStreamer::~BlockStreamer() {
  try {
    drop_ahead();
  } catch (const c10::Error&) {  // NOLINT(bugprone-empty-catch): a failed device is reported by its next use
  }
}

BlockStreamer::HostBlock BlockStreamer::to_host(const Block& block) const {
  const c10::NoGradGuard no_gradients;
  std::vector<at::Tensor> on_device, on_host;
  if (current_.block) {
    on_device = tensors(*current_.block);
    on_host = tensors(*current_.host);
  }
  const CodesToPack codes(block);
  return std::make_shared<const Block>(map_tensors(block, [&](const at::Tensor& tensor) {
    const auto known = std::ranges::find_if(on_device, [&](const at::Tensor& t) { return t.is_same(tensor); });
    if (known != on_device.end()) return on_host[static_cast<std::size_t>(known - on_device.begin())];
    const auto packed = codes.packed(tensor);
    const auto copy =
        at::empty(packed.sizes(), packed.options().device(at::kCPU).pinned_memory(/*pinned_memory=*/!device_.is_cpu()));
    return copy.copy_(packed);  // synchronous
  }));
}

BlockStreamer::Upload BlockStreamer::begin(HostBlock host) {
  const c10::NoGradGuard no_gradients;
  ++counts_.uploads;
  std::vector<at::Tensor> targets;
  Upload upload;
  upload.block = std::make_shared<const Block>(map_tensors(*host, [&](const at::Tensor& source) {
    return targets.emplace_back(at::empty(source.sizes(), source.options().device(device_)));
  }));
  const auto sources = tensors(*host);
  upload.host = std::move(host);
  if (!copies_) {
    for (std::size_t i = 0; i < targets.size(); ++i) targets[i].copy_(sources[i]);
    return upload;
  }
  // Recorded after the allocations, since with --deterministic the compute stream fills them.
  c10::Event allocated(device_.type());
  allocated.record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
  allocated.block(*copies_);
  const c10::StreamGuard on_the_side(*copies_);
  for (std::size_t i = 0; i < targets.size(); ++i) targets[i].copy_(sources[i], /*non_blocking=*/true);
  upload.copied.emplace(device_.type());
  upload.copied->record(*copies_);
  return upload;
}

void BlockStreamer::wait_for(const Upload& upload) const {
  if (upload.copied) upload.copied->block(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
}

void BlockStreamer::drop_ahead() {
  if (!ahead_.block) return;
  ++counts_.useless;
  wait_for(ahead_);
  ahead_ = {};
}

void BlockStreamer::release() {
  drop_ahead();
  current_ = {};
}

std::shared_ptr<const Block> BlockStreamer::get(int index, int count, const std::function<HostBlock(int)>& find) {
  const auto wanted = find(index);
  if (current_.host != wanted) {
    current_ = {};  // freed first, so that the prefetched block can reuse its memory
    if (ahead_.host == wanted) {
      ++counts_.ahead;
    } else {
      drop_ahead();
      ahead_ = begin(wanted);
    }
    current_ = std::exchange(ahead_, {});
    wait_for(current_);
    if (has_packed_codes(*current_.block)) {
      const c10::NoGradGuard no_gradients;
      current_.block = std::make_shared<const Block>(with_unpacked_codes(*current_.block));
    }
  }
  const int next = next_.after(index, count);
  const auto following = next < 0 ? nullptr : find(next);
  if (following && following != ahead_.host && following != current_.host) {
    drop_ahead();
    ahead_ = begin(following);
  }
  return current_.block;
}

}  // namespace normtweak::model
