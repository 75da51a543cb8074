#include "normtweak/formats/byte_patch.h"

#include <algorithm>
#include <cstring>

namespace normtweak::formats {
namespace {

// Fits the caches, so that a chunk that is copied to be changed is hashed or written from there.
constexpr std::uint64_t kChunk = std::uint64_t{256} << 10;

// Whether a piece may lie in the bytes [begin, end) of the file.
bool reaches(const BytePatch& patch, std::uint64_t begin, std::uint64_t end) {
  return patch.pieces() > 0 && patch.offset < end && patch.end() > begin;
}

// Puts the part of `patch` that lies in the bytes [begin, begin + chunk) of the file into `chunk`.
void apply(const BytePatch& patch, std::uint64_t begin, std::span<std::byte> chunk) {
  const auto end = begin + chunk.size();
  if (!reaches(patch, begin, end)) return;
  auto piece = begin <= patch.offset ? 0 : (begin - patch.offset) / patch.stride;
  for (; piece < patch.pieces(); ++piece) {
    const auto at = patch.offset + piece * patch.stride;
    if (at >= end) return;
    const auto first = std::max(at, begin), last = std::min(at + patch.width, end);
    if (first >= last) continue;
    std::memcpy(chunk.data() + (first - begin), patch.bytes.data() + piece * patch.width + (first - at), last - first);
  }
}

}  // namespace

void write_patched(std::span<const std::byte> base, const std::vector<BytePatch>& patches, std::ostream& stream) {
  std::vector<std::byte> chunk;
  for (std::uint64_t begin = 0; begin < base.size(); begin += kChunk) {
    const auto part = base.subspan(begin, std::min<std::uint64_t>(kChunk, base.size() - begin));
    const auto is_near = [&](const BytePatch& patch) { return reaches(patch, begin, begin + part.size()); };
    const bool is_changed = std::ranges::any_of(patches, is_near);
    if (is_changed) {
      chunk.assign(part.begin(), part.end());
      for (const auto& patch : patches) apply(patch, begin, chunk);
    }
    const auto* bytes = is_changed ? chunk.data() : part.data();
    stream.write(reinterpret_cast<const char*>(bytes), static_cast<std::streamsize>(part.size()));
  }
}

std::vector<BytePatch> changes_only(std::span<const std::byte> base, std::vector<BytePatch> patches) {
  for (auto& patch : patches) {
    const auto is_same = [&](std::uint64_t piece) {
      const auto old = base.subspan(patch.offset + piece * patch.stride, patch.width);
      return std::memcmp(old.data(), patch.bytes.data() + piece * patch.width, patch.width) == 0;
    };
    std::uint64_t first = 0, last = patch.pieces();
    while (first < last && is_same(first)) ++first;
    while (last > first && is_same(last - 1)) --last;
    patch.bytes = {patch.bytes.begin() + static_cast<std::ptrdiff_t>(first * patch.width),
                   patch.bytes.begin() + static_cast<std::ptrdiff_t>(last * patch.width)};
    patch.offset += first * patch.stride;
  }
  std::erase_if(patches, [](const BytePatch& patch) { return patch.bytes.empty(); });
  std::ranges::sort(patches, {}, &BytePatch::offset);
  return patches;
}

}  // namespace normtweak::formats
