// dtype names in a safetensors header. Those not listed (8-bit and smaller floats, complex numbers) occur in no
// checkpoint that this program reads.
#pragma once
#include <c10/core/ScalarType.h>

#include <array>
#include <optional>
#include <string_view>

namespace normtweak::formats {

struct SafetensorsType {
  std::string_view name;
  at::ScalarType type;
};

inline constexpr std::array<SafetensorsType, 13> kSafetensorsTypes = {{
    {"F64", at::kDouble},
    {"F32", at::kFloat},
    {"F16", at::kHalf},
    {"BF16", at::kBFloat16},
    {"I64", at::kLong},
    {"I32", at::kInt},
    {"I16", at::kShort},
    {"U64", at::kUInt64},
    {"U32", at::kUInt32},
    {"U16", at::kUInt16},
    {"I8", at::kChar},
    {"U8", at::kByte},
    {"BOOL", at::kBool},
}};

constexpr std::optional<at::ScalarType> safetensors_type(std::string_view name) {
  for (const auto& row : kSafetensorsTypes) {
    if (row.name == name) return row.type;
  }
  return std::nullopt;
}

constexpr std::optional<std::string_view> safetensors_name(at::ScalarType type) {
  for (const auto& row : kSafetensorsTypes) {
    if (row.type == type) return row.name;
  }
  return std::nullopt;
}

}  // namespace normtweak::formats
