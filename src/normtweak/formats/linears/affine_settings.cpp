#include "normtweak/formats/linears/affine_settings.h"

#include <algorithm>

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
  if (ModulePattern::is_regex(target)) {
    patterns_.push_back({about(where, [&] { return ModulePattern(target); }), settings});
  } else {
    named_.emplace(target, settings);  // the first of a name counts
  }
}

std::optional<AffineSettings> ModuleSettings::of(const std::string& module) const {
  const auto names = spellings_.of(module);
  for (const auto& name : names) {
    if (const auto named = named_.find(name); named != named_.end()) return named->second;
  }
  const auto matches = [&](const Pattern& entry) {
    return std::ranges::any_of(names, [&](const std::string& name) { return entry.pattern.matches(name); });
  };
  const auto found = std::ranges::find_if(patterns_, matches);
  return found == patterns_.end() ? standard_ : found->settings;
}

}  // namespace normtweak::formats
