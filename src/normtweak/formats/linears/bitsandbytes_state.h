// What bitsandbytes keeps of a linear as JSON in a tensor of bytes, and the tables that it names.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "normtweak/formats/linears/module_tensors.h"

namespace normtweak::formats {

struct BitsandbytesTable {
  std::string_view type, part;  // the part is the tensor that names it
  const std::array<double, 16>& values;
};
std::span<const BitsandbytesTable> bitsandbytes_tables();

// Number of parts of a size, the last of which may be smaller.
constexpr std::int64_t parts_of(std::int64_t size, std::int64_t part) { return (size + part - 1) / part; }

struct BitsandbytesState {
  const BitsandbytesTable* table = nullptr;
  std::string text;
  std::int64_t rows = 0, columns = 0, run = 64, nested_run = 256;
  std::optional<float> offset;  // with nested scales

  std::int64_t runs() const { return parts_of(rows * columns, run); }
};

// Throws Error naming file, tensor and key.
BitsandbytesState read_bitsandbytes_state(const ModuleTensors& tensors);

// The text with another offset, of the same length: rounded to the digits that there is room for, with spaces in front
// of a shorter number. Throws Error beginning with `where` if there is room for none.
std::string with_offset(const std::string& text, float offset, const std::string& where);

}  // namespace normtweak::formats
