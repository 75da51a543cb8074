// What the reader and the writer of GGUF files share: the numbers of value types, and where data stand.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>
#include <type_traits>

#include "normtweak/formats/ggml_blocks.h"

namespace normtweak::formats {

inline constexpr std::uint32_t kGgufText = 8, kGgufArray = 9;  // types of values of the metadata
inline constexpr std::string_view kGgufAlignment =
    "general.alignment";                                    // a key; the data of tensors start at multiples
inline constexpr std::uint64_t kGgufDefaultAlignment = 32;  // where there is no such key
inline constexpr std::uint32_t kMostGgufDimensions = 4;     // ggml's limit

// The number of a value type.
template <class Value>
constexpr std::uint32_t gguf_type() {
  if constexpr (std::is_same_v<Value, std::uint8_t>) return 0;
  if constexpr (std::is_same_v<Value, std::int8_t>) return 1;
  if constexpr (std::is_same_v<Value, std::uint16_t>) return 2;
  if constexpr (std::is_same_v<Value, std::int16_t>) return 3;
  if constexpr (std::is_same_v<Value, std::uint32_t>) return 4;
  if constexpr (std::is_same_v<Value, std::int32_t>) return 5;
  if constexpr (std::is_same_v<Value, float>) return 6;
  if constexpr (std::is_same_v<Value, bool>) return 7;
  if constexpr (std::is_same_v<Value, std::uint64_t>) return 10;
  if constexpr (std::is_same_v<Value, std::int64_t>) return 11;
  if constexpr (std::is_same_v<Value, double>) return 12;
}

// alignment: a power of two.
constexpr std::uint64_t gguf_aligned(std::uint64_t position, std::uint64_t alignment) {
  return (position + alignment - 1) & ~(alignment - 1);
}

// Size of a tensor in bytes. Throws Error, which begins with `where`, if rows are not whole blocks or if it is larger
// than any memory.
std::uint64_t gguf_stored_size(const GgmlType& type, at::IntArrayRef shape, std::string_view where);

}  // namespace normtweak::formats
