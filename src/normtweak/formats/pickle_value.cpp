#include "normtweak/formats/pickle_value.h"

#include <algorithm>

#include "normtweak/base/error.h"

namespace normtweak::formats {
namespace {

constexpr std::uint64_t kBlockBytes = 16;  // what the system takes for a block of memory beside it

}  // namespace

void PickleMemory::spend(std::uint64_t bytes) {
  if (bytes > left_) {
    fail(
        "{}: the pickle in it makes far more objects than its tensors need; the file is damaged, or made to fill the "
        "memory",
        origin_);
  }
  left_ -= bytes;
}

PickleValue PickleMemory::tuple(std::span<const PickleValue> values) {
  PickleValue made;
  made.kind = PickleValue::Kind::tuple;
  made.size = static_cast<std::uint32_t>(values.size());
  made.tuple = nullptr;
  if (values.empty()) return made;
  spend(values.size_bytes());
  if (values.size() > free_.size()) {
    constexpr std::size_t kValuesOfBlock = 4096;
    const auto count = std::max(values.size(), kValuesOfBlock);
    free_ = {blocks_.emplace_back(std::make_unique<PickleValue[]>(count)).get(), count};
  }
  std::ranges::copy(values, free_.begin());
  made.tuple = free_.data();
  free_ = free_.subspan(values.size());
  return made;
}

void PickleMemory::drop_latest(const PickleValue& tuple) {
  if (tuple.size == 0 || tuple.tuple + tuple.size != free_.data()) return;
  free_ = {free_.data() - tuple.size, free_.size() + tuple.size};
  left_ += tuple.as_tuple().size_bytes();
}

PickleValue PickleMemory::items(PickleValue::Kind kind) {
  spend(sizeof(PickleItems));
  PickleValue made;
  made.kind = kind;
  made.items = &items_.emplace_back();
  return made;
}

void PickleMemory::append(PickleItems& items, std::span<const PickleValue> values) {
  auto& all = items.values;
  const auto needed = all.size() + values.size();
  if (needed > all.capacity()) {
    const auto capacity = std::max(needed, 2 * all.capacity());
    const auto earlier = all.capacity() * sizeof(PickleValue);
    spend(capacity * sizeof(PickleValue) + kBlockBytes);
    all.reserve(capacity);
    allow(earlier);  // gone, but not before its values are copied
  }
  all.insert(all.end(), values.begin(), values.end());
}

}  // namespace normtweak::formats
