#include "normtweak/formats/byte_patch.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <optional>
#include <queue>
#include <utility>

namespace normtweak::formats {
namespace {

// Fits the caches, so that a chunk that is copied to be changed is hashed or written from there.
constexpr std::uint64_t kChunk = std::uint64_t{256} << 10;

template <std::size_t width>
void copy_pieces(const BytePatch& patch, std::uint64_t piece, std::uint64_t count, std::byte* target) {
  const auto* source = patch.bytes.data() + piece * width;
  for (; count > 0; --count, source += width, target += patch.stride) std::memcpy(target, source, width);
}

// Copies the pieces from `piece` on, which begins in the chunk, that lie in it as a whole, if they are scales of 2 or 4
// bytes, of which a model has many millions. Returns their number.
std::uint64_t copy_whole(const BytePatch& patch, std::uint64_t piece, std::uint64_t begin, std::span<std::byte> chunk) {
  const auto at = patch.offset + piece * patch.stride - begin;
  if (piece >= patch.pieces() || at + patch.width > chunk.size()) return 0;
  const auto count = std::min(patch.pieces() - piece, (chunk.size() - at - patch.width) / patch.stride + 1);
  auto* target = chunk.data() + at;
  if (patch.width == 2) {
    copy_pieces<2>(patch, piece, count, target);
  } else if (patch.width == 4) {
    copy_pieces<4>(patch, piece, count, target);
  } else {
    return 0;
  }
  return count;
}

// Puts the part of `patch` that lies in the bytes [begin, begin + chunk) of the file into `chunk`. Returns where the
// patch goes on behind them; none if it ends there.
std::optional<std::uint64_t> apply(const BytePatch& patch, std::uint64_t begin, std::span<std::byte> chunk) {
  const auto end = begin + chunk.size();
  auto piece = begin <= patch.offset ? 0 : (begin - patch.offset) / patch.stride;
  const auto place = [&] { return patch.offset + piece * patch.stride; };
  const auto copy_part = [&] {
    const auto first = std::max(place(), begin), last = std::min(place() + patch.width, end);
    if (first >= last) return;
    std::memcpy(chunk.data() + (first - begin), patch.bytes.data() + piece * patch.width + (first - place()),
                last - first);
  };
  if (piece < patch.pieces() && place() < begin) {  // the rest of a piece, or what lies between two
    copy_part();
    if (place() + patch.width > end) return end;
    ++piece;
  }
  piece += copy_whole(patch, piece, begin, chunk);
  for (; piece < patch.pieces(); ++piece) {
    if (place() >= end) return place();
    copy_part();
    if (place() + patch.width > end) return end;
  }
  return std::nullopt;
}

// The patches by where they go on, so that a chunk costs no more than the pieces in it: a damaged file may have a
// million patches, and the base as many chunks.
class Waiting {
 public:
  explicit Waiting(const std::vector<BytePatch>& patches) : patches_(patches) {
    for (std::size_t i = 0; i < patches.size(); ++i) {
      if (patches[i].pieces() > 0) next_.emplace(patches[i].offset, i);
    }
  }

  bool reach(std::uint64_t end) const { return !next_.empty() && next_.top().first < end; }

  // In their own order, where pieces of several overlap.
  void apply_to(std::uint64_t begin, std::span<std::byte> chunk) {
    std::vector<std::size_t> reached;
    for (; reach(begin + chunk.size()); next_.pop()) reached.push_back(next_.top().second);
    std::ranges::sort(reached);
    for (const auto i : reached) {
      if (const auto at = apply(patches_[i], begin, chunk)) next_.emplace(*at, i);
    }
  }

 private:
  using Next = std::pair<std::uint64_t, std::size_t>;  // a place in the file, and a place in `patches_`
  const std::vector<BytePatch>& patches_;
  std::priority_queue<Next, std::vector<Next>, std::greater<>> next_;
};

}  // namespace

void write_patched(std::span<const std::byte> base, const std::vector<BytePatch>& patches, std::ostream& stream,
                   const std::function<void(std::span<const std::byte>)>& see) {
  Waiting waiting(patches);
  std::vector<std::byte> chunk;
  for (std::uint64_t begin = 0; begin < base.size(); begin += kChunk) {
    const auto part = base.subspan(begin, std::min<std::uint64_t>(kChunk, base.size() - begin));
    if (see) see(part);
    const bool is_changed = waiting.reach(begin + part.size());
    if (is_changed) {
      chunk.assign(part.begin(), part.end());
      waiting.apply_to(begin, chunk);
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
