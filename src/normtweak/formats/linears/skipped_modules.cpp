#include "normtweak/formats/linears/skipped_modules.h"

#include <algorithm>

#include "normtweak/base/error.h"

namespace normtweak::formats {

bool SkippedModules::contain(const std::string& module) const {
  const auto whole = fmt::format(".{}.", module);
  return std::ranges::any_of(
      names_, [&](const std::string& name) { return whole.find(fmt::format(".{}.", name)) != std::string::npos; });
}

void SkippedModules::refuse(const TensorSource& file, const std::vector<StoredLinear>& linears) const {
  for (const auto& linear : linears) {
    if (!contain(linear.module)) continue;
    fail("{}: the config says that this linear is not quantized", described(file, linear.tensors.front()));
  }
}

}  // namespace normtweak::formats
