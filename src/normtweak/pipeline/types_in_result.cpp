#include "normtweak/pipeline/types_in_result.h"

#include <algorithm>

#include "normtweak/model/unread_tensors.h"

namespace normtweak::pipeline {

bool converts_floats(const model::Checkpoint& original, at::ScalarType stored) {
  if (stored != original.numbers.stored_type) return true;
  if (model::is_quantized(original)) return false;
  return std::ranges::any_of(model::family_names(original), [&](const auto& names) {
    const auto type = original.tensors->info(names.first).type;
    return at::isFloatingType(type) && type != stored;
  });
}

at::ScalarType TypesInResult::of(const std::string& name) const {
  const auto type = original_.tensors->info(name).type;
  return converts_ && at::isFloatingType(type) ? stored_ : type;
}

}  // namespace normtweak::pipeline
