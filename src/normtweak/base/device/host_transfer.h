// Copies between host memory and a device, at the speed of both: threads fill pinned memory while the piece before is
// on its way. A plain copy from or to pageable memory is made by one thread, and converts a dtype on the host.
#pragma once
#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

namespace normtweak {

// The values of a host tensor in new memory of `device`, in `type`; a GPU converts them itself. `host` may be a view of
// a mapped file, which is then read by several threads. Besides the result, at most 32 MiB of the device and 64 MiB of
// pinned host memory are used.
at::Tensor to_device(const at::Tensor& host, c10::Device device, at::ScalarType type);

// Hands on the bytes of a tensor of any device, in row-major order: those of a host tensor at once, others in pieces.
// They are valid until `take` returns.
using TakeBytes = std::function<void(std::span<const std::byte>)>;
void for_each_piece(const at::Tensor& tensor, const TakeBytes& take);

// How both do it where the device is no CPU, with pieces of so many bytes. On a CPU, where there is nothing to gain,
// the same by memory that is not pinned, for tests. target: contiguous, of the shape of `host`.
void upload_in_pieces(const at::Tensor& host, const at::Tensor& target, std::int64_t piece_bytes);
void download_in_pieces(const at::Tensor& tensor, std::int64_t piece_bytes, const TakeBytes& take);

}  // namespace normtweak
