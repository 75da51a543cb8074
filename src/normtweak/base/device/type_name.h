// dtypes as checkpoints name them, for messages and for the header of safetensors.
#pragma once
#include <c10/core/ScalarType.h>

#include <array>
#include <string_view>

namespace normtweak {

struct TypeName {
  std::string_view name;
  at::ScalarType type;
};

// Those that occur in checkpoints. Smaller floats and complex numbers are in none that this program reads.
inline constexpr std::array<TypeName, 15> kTypeNames = {{
    {"F64", at::kDouble},
    {"F32", at::kFloat},
    {"F16", at::kHalf},
    {"BF16", at::kBFloat16},
    {"F8_E4M3", at::kFloat8_e4m3fn},
    {"F8_E5M2", at::kFloat8_e5m2},
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

// "I64", "BF16"; of a type that is not listed, PyTorch's name.
constexpr std::string_view type_name(at::ScalarType type) {
  for (const auto& row : kTypeNames) {
    if (row.type == type) return row.name;
  }
  return c10::toString(type);
}

}  // namespace normtweak
