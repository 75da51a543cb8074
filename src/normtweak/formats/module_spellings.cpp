#include "normtweak/formats/module_spellings.h"

#include <fmt/format.h>

#include <algorithm>

namespace normtweak::formats {

std::vector<std::string> ModuleSpellings::of(std::string_view module) const {
  std::vector<std::string> names = {std::string(module)};
  if (std::ranges::find(heads_, module) != heads_.end()) {
    for (const auto head : heads_) {
      if (head != module) names.emplace_back(head);
    }
  } else if (!prefixes_.empty() && module.starts_with(own_)) {
    for (const auto prefix : prefixes_) {
      if (prefix != own_) names.push_back(fmt::format("{}{}", prefix, module.substr(own_.size())));
    }
  }
  return names;
}

}  // namespace normtweak::formats
