#include "normtweak/formats/linears/skipped_modules.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "normtweak/base/error.h"

namespace normtweak::formats {

SkippedModules::SkippedModules(const Settings& config, std::initializer_list<const char*> keys,
                               const ModuleSpellings& spellings)
    : spellings_(spellings) {
  for (auto& name : config.texts(keys)) {
    longest_ = std::max(longest_, name.size());
    names_.insert(std::move(name));
  }
}

bool SkippedModules::contain(const std::string& module) const {
  return std::ranges::any_of(spellings_.of(module), [&](const std::string& name) { return contain_name(name); });
}

// Looks up the parts of the module instead of looking for each name in it: a list may name every module.
bool SkippedModules::contain_name(std::string_view module) const {
  for (std::size_t begin = 0; begin <= module.size(); begin = std::min(module.find('.', begin), module.size()) + 1) {
    for (auto end = begin; end <= module.size(); ++end) {
      end = std::min(module.find('.', end), module.size());
      if (end - begin > longest_) break;
      if (names_.contains(module.substr(begin, end - begin))) return true;
    }
  }
  return false;
}

void SkippedModules::refuse(const TensorSource& file, const std::vector<StoredLinear>& linears) const {
  for (const auto& linear : linears) {
    if (!contain(linear.module)) continue;
    fail("{}: the config says that this linear is not quantized", described(file, linear.tensors.front()));
  }
}

}  // namespace normtweak::formats
