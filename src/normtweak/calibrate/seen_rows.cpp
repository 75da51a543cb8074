#include "normtweak/calibrate/seen_rows.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace normtweak::calibrate {
namespace {

constexpr std::int64_t kRun = 32, kLeastRun = 8;
constexpr std::uint64_t kFactor = 0x9E3779B97F4A7C15;  // odd: 2^64 divided by the golden ratio

// Hashes of all runs of `length` ids: Σ id · factor^(length - 1 - i), modulo 2^64.
class RunningHash {
 public:
  explicit RunningHash(std::int64_t length) {
    for (std::int64_t i = 0; i < length; ++i) leaving_ *= kFactor;
  }

  // The hash of a run after `entering` has come in, and `leaving`, `length` ids before, has left.
  std::uint64_t step(std::uint64_t hash, std::int64_t entering, std::int64_t leaving) const {
    return hash * kFactor + value(entering) - leaving_ * value(leaving);
  }
  static std::uint64_t add(std::uint64_t hash, std::int64_t entering) { return hash * kFactor + value(entering); }

 private:
  static std::uint64_t value(std::int64_t id) { return static_cast<std::uint64_t>(id) + 1; }

  std::uint64_t leaving_ = 1;
};

std::span<const std::int64_t> ids_of(const at::Tensor& ids) {
  return {ids.const_data_ptr<std::int64_t>(), static_cast<std::size_t>(ids.numel())};
}

// Calls visit(hash) for every run of `length` ids.
template <class Visit>
void visit_runs(std::span<const std::int64_t> ids, std::int64_t length, const Visit& visit) {
  const RunningHash running(length);
  const auto size = static_cast<std::size_t>(length);
  std::uint64_t hash = 0;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    hash = i < size ? RunningHash::add(hash, ids[i]) : running.step(hash, ids[i], ids[i - size]);
    if (i + 1 >= size) visit(hash);
  }
}

// The rows that each part of the text occurs in, by the part's hash. Padding belongs to no part.
std::unordered_map<std::uint64_t, std::vector<std::size_t>> parts_of(const TokenBatch& text, std::int64_t length) {
  std::unordered_map<std::uint64_t, std::vector<std::size_t>> parts;
  for (std::int64_t row = 0; row < text.samples(); ++row) {
    const auto count = text.mask.defined() ? text.mask.select(0, row).sum().item<std::int64_t>() : text.tokens();
    const auto ids = text.ids.select(0, row).contiguous();
    for (std::int64_t begin = 0; begin + length <= count; begin += length) {
      const auto part = ids_of(ids).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(length));
      visit_runs(part, length, [&](std::uint64_t hash) { parts[hash].push_back(static_cast<std::size_t>(row)); });
    }
  }
  return parts;
}

}  // namespace

std::int64_t rows_seen_in(const at::Tensor& other, const TokenBatch& text) {
  const auto length = std::min({kRun, text.tokens(), other.numel()});
  if (length < kLeastRun) return 0;
  const auto parts = parts_of(text, length);
  const auto contiguous = other.contiguous();
  std::vector<bool> seen(static_cast<std::size_t>(text.samples()));
  visit_runs(ids_of(contiguous), length, [&](std::uint64_t hash) {
    const auto found = parts.find(hash);
    if (found == parts.end()) return;
    for (const auto row : found->second) seen[row] = true;
  });
  return std::ranges::count(seen, true);
}

}  // namespace normtweak::calibrate
