// dtype names in a safetensors header.
#pragma once
#include <c10/core/ScalarType.h>

#include <optional>
#include <string_view>

#include "normtweak/base/device/type_name.h"

namespace normtweak::formats {

constexpr std::optional<at::ScalarType> safetensors_type(std::string_view name) {
  for (const auto& row : kTypeNames) {
    if (row.name == name) return row.type;
  }
  return std::nullopt;
}

constexpr std::optional<std::string_view> safetensors_name(at::ScalarType type) {
  for (const auto& row : kTypeNames) {
    if (row.type == type) return row.name;
  }
  return std::nullopt;
}

}  // namespace normtweak::formats
