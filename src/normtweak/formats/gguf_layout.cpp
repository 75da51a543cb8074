#include "normtweak/formats/gguf_layout.h"

#include "normtweak/base/error.h"
#include "normtweak/formats/tensor_bytes.h"

namespace normtweak::formats {

std::uint64_t gguf_stored_size(const GgmlType& type, at::IntArrayRef shape, std::string_view where) {
  const auto row = shape.empty() ? 1 : shape.back();
  if (row % type.block_size != 0) {
    fail("{}: rows of {} are not a whole number of {} blocks of {}", where, row, type.name, type.block_size);
  }
  const auto count = element_count(shape);
  const auto blocks = count ? *count / static_cast<std::uint64_t>(type.block_size) : 0;
  const auto size = checked_product(blocks, static_cast<std::uint64_t>(type.block_bytes));
  if (!count || !size) fail("{}: shape {} is larger than any memory", where, c10::str(shape));
  return *size;
}

}  // namespace normtweak::formats
