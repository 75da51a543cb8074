#include "normtweak/formats/ggml_block_floats.h"

#include <c10/util/Half.h>

#include <cmath>
#include <cstring>

#include "normtweak/base/device/finite.h"
#include "normtweak/base/error.h"

namespace normtweak::formats {
namespace {

constexpr std::int64_t kNibbles = 4;  // of a f16

float load_half(const std::byte* source) {
  c10::Half value;
  std::memcpy(&value, source, sizeof value);
  return value;
}

// 2^(byte - 128); the least one is no normal number.
float power_of_two(std::byte exponent) { return std::ldexp(1.0F, std::to_integer<int>(exponent) - 128); }

// The byte whose high nibble is nibble k of a scale that is spread.
std::int64_t nibble_at(const BlockLayout& layout, std::int64_t k) { return layout.scale_at + 2 * k + 1; }

float load_spread_half(const BlockLayout& layout, const std::byte* block) {
  unsigned bits = 0;
  for (std::int64_t k = 0; k < kNibbles; ++k) {
    bits |= std::to_integer<unsigned>(block[nibble_at(layout, k)]) >> 4U << (4 * k);
  }
  return c10::Half(static_cast<std::uint16_t>(bits), c10::Half::from_bits());
}

at::Tensor to_halves(const at::Tensor& floats) {
  const auto halves = floats.detach().cpu().to(at::kHalf).contiguous();
  if (!all_finite(halves)) fail("a scale does not fit into float16");
  return halves;
}

BytePatch in_every_block(const GgmlType& type, std::uint64_t offset, std::int64_t place, std::uint64_t width,
                         std::vector<std::byte> bytes) {
  return {.offset = offset + static_cast<std::uint64_t>(place),
          .stride = static_cast<std::uint64_t>(type.block_bytes),
          .width = width,
          .bytes = std::move(bytes)};
}

BytePatch patch_halves(const at::Tensor& floats, const GgmlType& type, std::uint64_t offset, std::int64_t place) {
  const auto halves = to_halves(floats);
  const auto bytes =
      std::as_bytes(std::span(halves.const_data_ptr<c10::Half>(), static_cast<std::size_t>(halves.numel())));
  return in_every_block(type, offset, place, sizeof(c10::Half), {bytes.begin(), bytes.end()});
}

// Nibble k of each scale, beside the low nibble that is in the file.
BytePatch patch_nibbles(const at::Tensor& floats, const GgmlType& type, std::span<const std::byte> file,
                        std::uint64_t offset, std::int64_t k) {
  const auto halves = to_halves(floats);
  const auto* half = halves.const_data_ptr<c10::Half>();
  const auto place = nibble_at(*type.layout, k);
  std::vector<std::byte> bytes(static_cast<std::size_t>(halves.numel()));
  for (std::size_t block = 0; block < bytes.size(); ++block) {
    const auto stored =
        file[offset + block * static_cast<std::uint64_t>(type.block_bytes) + static_cast<std::uint64_t>(place)];
    bytes[block] = static_cast<std::byte>((half[block].x >> (4 * k) & 15) << 4) | (stored & std::byte{15});
  }
  return in_every_block(type, offset, place, 1, std::move(bytes));
}

}  // namespace

float block_scale(const BlockLayout& layout, const std::byte* block) {
  if (layout.scale_is_spread) return load_spread_half(layout, block);
  return layout.scale_at < 0 ? power_of_two(block[0]) : load_half(block + layout.scale_at);
}

float block_minimum(const BlockLayout& layout, const std::byte* block) {
  return layout.minimum_at < 0 ? 0 : load_half(block + layout.minimum_at);
}

std::vector<BytePatch> patch_blocks(const weights::BlockWeight& weight, const GgmlType& type,
                                    std::span<const std::byte> file, std::uint64_t offset) {
  const auto& layout = *type.layout;
  const auto size = static_cast<std::uint64_t>(weight.scales.numel() * type.block_bytes);
  if (offset > file.size() || size > file.size() - offset) {
    fail("{} blocks of {} end after the file", weight.scales.numel(), type.name);
  }
  std::vector<BytePatch> patches;
  if (layout.scale_is_spread) {
    for (std::int64_t k = 0; k < kNibbles; ++k) patches.push_back(patch_nibbles(weight.scales, type, file, offset, k));
  } else {
    patches.push_back(patch_halves(weight.scales, type, offset, layout.scale_at));
  }
  if (weight.minima.defined()) patches.push_back(patch_halves(weight.minima, type, offset, layout.minimum_at));
  return patches;
}

}  // namespace normtweak::formats
