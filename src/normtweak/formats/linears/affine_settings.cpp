#include "normtweak/formats/linears/affine_settings.h"

#include "normtweak/base/about.h"

namespace normtweak::formats {

AffineSettings read_affine_settings(const Settings& config, const AffineSettings& standard, bool needs_bits) {
  AffineSettings settings;
  settings.bits =
      config.whole({"bits", "w_bit", "wbits"}, needs_bits ? std::nullopt : std::optional<int>(standard.bits), 2, 8);
  constexpr int kLargest = 1 << 30;
  const auto size = config.whole({"group_size", "q_group_size"}, standard.group_size, -1, kLargest);
  settings.group_size = size < 0 ? 0 : size;
  settings.symmetric = config.flag({"sym"}, standard.symmetric);
  return settings;
}

void ModuleSettings::add(const std::string& target, const std::optional<AffineSettings>& settings,
                         const std::string& where) {
  if (!ModulePattern::is_regex(target)) {
    entries_.push_back({std::nullopt, target, settings});
    return;
  }
  entries_.push_back({about(where, [&] { return ModulePattern(target); }), target, settings});
}

std::optional<AffineSettings> ModuleSettings::of(const std::string& module) const {
  for (const auto& entry : entries_) {
    if (!entry.pattern && entry.name == module) return entry.settings;
  }
  for (const auto& entry : entries_) {
    if (entry.pattern && entry.pattern->matches(module)) return entry.settings;
  }
  return standard_;
}

}  // namespace normtweak::formats
