#include "normtweak/formats/module_targets.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <optional>
#include <utility>

#include "normtweak/formats/module_pattern.h"

namespace normtweak::formats {
namespace {

std::string escaped(std::string_view text) {
  std::string result;
  for (const char letter : text) {
    const bool plain = (std::isalnum(static_cast<unsigned char>(letter)) != 0) || letter == '_';
    result += plain ? std::string{letter} : fmt::format("[{}]", letter);
  }
  return result;
}

// "layers.3.mlp.up_proj" in three: what stands before the index of the block, the index, and what follows.
struct IndexedName {
  std::string_view before, index, after;
};
std::optional<IndexedName> split_at_index(std::string_view name) {
  constexpr std::string_view kDigits = "0123456789";
  for (std::size_t dot = name.find('.'); dot != std::string_view::npos; dot = name.find('.', dot + 1)) {
    const auto end = name.find_first_not_of(kDigits, dot + 1);
    if (end == std::string_view::npos || end == dot + 1 || name[end] != '.') continue;
    return IndexedName{name.substr(0, dot), name.substr(dot + 1, end - dot - 1), name.substr(end + 1)};
  }
  return std::nullopt;
}

// The names in the whole model, and in the base model alone, where they lack the prefix.
Json names_of(const std::vector<std::string>& modules, const WrittenFamily& family) {
  const auto prefix = family.base_prefix;
  auto names = Json::array();
  for (const std::string_view module : modules) {
    for (auto& name : family.spellings.of(module)) names.push_back(std::move(name));
    if (!prefix.empty() && module.starts_with(prefix)) names.push_back(module.substr(prefix.size()));
  }
  return names;
}

// For what may stand before the names within the base model: "(model[.])?".
std::string prefix_pattern(const WrittenFamily& family) {
  if (family.spellings.prefixes().empty()) return fmt::format("({})?", escaped(family.base_prefix));
  std::vector<std::string> prefixes;
  for (const auto prefix : family.spellings.prefixes()) prefixes.push_back(escaped(prefix));
  return fmt::format("({})?", fmt::join(prefixes, "|"));
}

// The indices of the blocks, by what stands before and after: ("(model[.])?layers", "mlp[.]up_proj") and "0|2|5".
using Indices = std::vector<std::pair<std::pair<std::string, std::string>, std::string>>;

void add_index(Indices& all, const std::pair<std::string, std::string>& around, std::string_view index) {
  const auto found = std::ranges::find(all, around, &Indices::value_type::first);
  if (found == all.end()) {
    all.emplace_back(around, index);
  } else {
    found->second += fmt::format("|{}", index);
  }
}

}  // namespace

Json module_targets(const std::vector<std::string>& modules, const WrittenFamily& family) {
  const auto base_prefix = family.base_prefix;
  constexpr std::size_t kMostKinds = 64;
  auto targets = Json::array();
  Indices kinds;
  for (const std::string_view module : modules) {
    const bool in_base = !base_prefix.empty() && module.starts_with(base_prefix);
    const auto name = split_at_index(in_base ? module.substr(base_prefix.size()) : module);
    if (!name) {
      for (auto& spelling : family.spellings.of(module)) targets.push_back(std::move(spelling));
      continue;
    }
    const auto before = (in_base ? prefix_pattern(family) : "") + escaped(name->before);
    add_index(kinds, {before, escaped(name->after)}, name->index);
    if (kinds.size() > kMostKinds) return names_of(modules, family);
  }
  for (const auto& [around, indices] : kinds) {
    targets.push_back(fmt::format("re:{}[.]({})[.]{}$", around.first, indices, around.second));
  }
  return targets;
}

bool lies_in_block(std::string_view module) { return split_at_index(module).has_value(); }

std::string part_target(const std::string& part) { return fmt::format("re:(.*[.])?{}([.].*)?$", escaped(part)); }

std::string python_pattern(const std::string& target) {
  return ModulePattern::is_regex(target) ? target.substr(3) : fmt::format("{}$", escaped(target));
}

}  // namespace normtweak::formats
