#include "normtweak/base/device/host_transfer.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>

namespace normtweak {
namespace {

constexpr std::int64_t kPieceBytes = std::int64_t{32} << 20;  // larger ones are no faster
constexpr std::int64_t kBytesOfTask = std::int64_t{1} << 20;

void copy_bytes(const std::byte* from, std::byte* to, std::int64_t size) {
  at::parallel_for(0, size, kBytesOfTask, [&](std::int64_t begin, std::int64_t end) {
    std::memcpy(to + begin, from + begin, static_cast<std::size_t>(end - begin));
  });
}

// Pinned memory for a piece, and the end of the last copy from or to it.
struct Staging {
  at::Tensor pinned;
  std::optional<c10::Event> copied;

  void record(c10::Device device) {
    if (device.is_cpu()) return;  // its copies are synchronous
    copied.emplace(device.type());
    copied->record(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
  }
  void wait() {
    if (copied) copied->synchronize();
  }
};

// Two take turns.
std::array<Staging, 2> make_staging(at::ScalarType type, std::int64_t elements, c10::Device device) {
  const auto options = at::TensorOptions(type).pinned_memory(!device.is_cpu());
  std::array<Staging, 2> both;
  for (auto& one : both) one.pinned = at::empty({elements}, options);
  return both;
}

std::int64_t elements_of_piece(const at::Tensor& tensor, std::int64_t piece_bytes) {
  return std::min(tensor.numel(), piece_bytes / static_cast<std::int64_t>(tensor.element_size()));
}

std::span<const std::byte> bytes_of(const at::Tensor& host) {
  return {static_cast<const std::byte*>(host.const_data_ptr()), host.nbytes()};
}

}  // namespace

void upload_in_pieces(const at::Tensor& host, const at::Tensor& target, std::int64_t piece_bytes) {
  const auto source = host.contiguous();
  const auto to = target.view({-1});
  const auto elements = elements_of_piece(source, piece_bytes),
             element = static_cast<std::int64_t>(source.element_size());
  auto staging = make_staging(source.scalar_type(), elements, target.device());
  const auto* bytes = static_cast<const std::byte*>(source.const_data_ptr());
  const auto raw = to.scalar_type() == source.scalar_type()
                       ? at::Tensor()
                       : at::empty({elements}, to.options().dtype(source.scalar_type()));
  for (std::int64_t begin = 0, turn = 0; begin < source.numel(); begin += elements, ++turn) {
    auto& one = staging[static_cast<std::size_t>(turn % 2)];
    const auto count = std::min(elements, source.numel() - begin);
    one.wait();
    copy_bytes(bytes + begin * element, static_cast<std::byte*>(one.pinned.mutable_data_ptr()), count * element);
    const auto piece = to.narrow(0, begin, count), filled = one.pinned.narrow(0, 0, count);
    if (raw.defined()) {
      piece.copy_(raw.narrow(0, 0, count).copy_(filled, /*non_blocking=*/true));  // in the order of the stream
    } else {
      piece.copy_(filled, /*non_blocking=*/true);
    }
    one.record(target.device());
  }
  for (auto& one : staging) one.wait();
}

void download_in_pieces(const at::Tensor& tensor, std::int64_t piece_bytes, const TakeBytes& take) {
  const auto source = tensor.detach().contiguous();
  const auto elements = elements_of_piece(source, piece_bytes);
  const auto from = source.view({-1});
  auto staging = make_staging(source.scalar_type(), elements, source.device());
  const auto begin_copy = [&](std::int64_t begin, std::int64_t turn) {
    if (begin >= source.numel()) return;
    auto& one = staging[static_cast<std::size_t>(turn % 2)];
    const auto count = std::min(elements, source.numel() - begin);
    one.pinned.narrow(0, 0, count).copy_(from.narrow(0, begin, count), /*non_blocking=*/true);
    one.record(source.device());
  };
  begin_copy(0, 0);
  for (std::int64_t begin = 0, turn = 0; begin < source.numel(); begin += elements, ++turn) {
    begin_copy(begin + elements, turn + 1);
    auto& one = staging[static_cast<std::size_t>(turn % 2)];
    one.wait();
    take(bytes_of(one.pinned.narrow(0, 0, std::min(elements, source.numel() - begin))));
  }
}

at::Tensor to_device(const at::Tensor& host, c10::Device device, at::ScalarType type) {
  if (device.is_cpu() || host.numel() == 0) return host.to(device, type, /*non_blocking=*/false, /*copy=*/true);
  const c10::NoGradGuard no_gradients;
  auto target = at::empty(host.sizes(), at::TensorOptions(type).device(device));
  upload_in_pieces(host, target, kPieceBytes);
  return target;
}

void for_each_piece(const at::Tensor& tensor, const TakeBytes& take) {
  const c10::NoGradGuard no_gradients;
  if (tensor.is_cpu() || tensor.numel() == 0) return take(bytes_of(tensor.detach().cpu().contiguous()));
  download_in_pieces(tensor, kPieceBytes, take);
}

}  // namespace normtweak
