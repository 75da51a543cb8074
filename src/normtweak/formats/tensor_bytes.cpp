#include "normtweak/formats/tensor_bytes.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <bit>
#include <cstring>

#include "normtweak/base/device/type_name.h"
#include "normtweak/base/error.h"

namespace normtweak::formats {

static_assert(std::endian::native == std::endian::little, "all containers read here hold little-endian numbers");

std::optional<std::uint64_t> checked_product(std::uint64_t a, std::uint64_t b) {
  std::uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

std::optional<std::uint64_t> element_count(at::IntArrayRef shape) {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 62;  // times any element size it is still told from garbage
  std::uint64_t count = 1;
  bool empty = false;
  for (const auto dimension : shape) {
    if (dimension < 0) return std::nullopt;
    if (dimension == 0) {
      empty = true;  // the other dimensions are still checked: strides of [2^40, 2^40, 0] overflow
      continue;
    }
    const auto product = checked_product(count, static_cast<std::uint64_t>(dimension));
    if (!product || *product > kMost) return std::nullopt;
    count = *product;
  }
  return empty ? 0 : count;
}

at::Tensor tensor_over(std::span<const std::byte> bytes, at::ScalarType type, at::IntArrayRef shape) {
  const auto count = element_count(shape);
  const auto element_size = c10::elementSize(type);
  const auto size = count ? checked_product(*count, element_size) : std::nullopt;
  if (!size || *size != bytes.size()) {
    fail("a tensor of shape {} and type {} does not fill {} bytes", c10::str(shape), type_name(type), bytes.size());
  }
  const auto options = at::TensorOptions(type);
  if (bytes.empty()) return at::empty(shape, options);
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % element_size == 0) {
    // from_blob takes no const pointer; by TensorSource's contract its tensors are never written to.
    return at::from_blob(const_cast<std::byte*>(bytes.data()), shape, options);
  }
  auto copy = at::empty(shape, options);
  std::memcpy(copy.data_ptr(), bytes.data(), bytes.size());
  return copy;
}

}  // namespace normtweak::formats
