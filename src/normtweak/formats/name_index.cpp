#include "normtweak/formats/name_index.h"

#include <bit>
#include <functional>

namespace normtweak::formats {

std::optional<std::string> NameIndex::build(const std::vector<std::string>& names) {
  slots_.assign(std::bit_ceil(2 * names.size() + 1), 0);
  for (std::size_t i = 0; i < names.size(); ++i) {
    auto& slot = slots_[slot_of(names, names[i])];
    if (slot != 0) return names[i];
    slot = static_cast<std::uint32_t>(i + 1);
  }
  return std::nullopt;
}

std::optional<std::size_t> NameIndex::find(const std::vector<std::string>& names, std::string_view name) const {
  const auto place = slots_.empty() ? 0 : slots_[slot_of(names, name)];
  return place == 0 ? std::nullopt : std::optional<std::size_t>(place - 1);
}

std::size_t NameIndex::slot_of(const std::vector<std::string>& names, std::string_view name) const {
  const auto mask = slots_.size() - 1;
  auto slot = std::hash<std::string_view>{}(name)&mask;
  while (slots_[slot] != 0 && names[slots_[slot] - 1] != name) slot = (slot + 1) & mask;
  return slot;
}

}  // namespace normtweak::formats
