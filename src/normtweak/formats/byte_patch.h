// Bytes that replace those of a file, whose size and other bytes stay as they are.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <ostream>
#include <span>
#include <string>
#include <vector>

namespace normtweak::formats {

// Pieces of equal size at equal distances, such as the scales of consecutive blocks.
struct BytePatch {
  std::uint64_t offset = 0;      // of the first piece, from the start of the file
  std::uint64_t stride = 0;      // from the start of a piece to that of the next; at least `width`
  std::uint64_t width = 0;       // bytes of a piece
  std::vector<std::byte> bytes;  // of all pieces
  std::string file = {};         // which file, where a model has several; empty: the one that its source names

  std::uint64_t pieces() const { return width == 0 ? 0 : bytes.size() / width; }
  std::uint64_t end() const { return pieces() == 0 ? offset : offset + (pieces() - 1) * stride + width; }
};

// `base` with the patches. Reads and writes the file once, from its start to its end. see: if not empty, is given each
// part of `base` in turn, before it is copied and so when the caches hold it.
void write_patched(std::span<const std::byte> base, const std::vector<BytePatch>& patches, std::ostream& stream,
                   const std::function<void(std::span<const std::byte>)>& see = {});

// The patches without the pieces that are in `base` already at both ends of each.
std::vector<BytePatch> changes_only(std::span<const std::byte> base, std::vector<BytePatch> patches);

}  // namespace normtweak::formats
