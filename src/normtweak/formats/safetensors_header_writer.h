// The header of a safetensors file that is to be written.
#pragma once
#include <c10/util/ArrayRef.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace normtweak::formats {

// What a header says of a tensor. Its data follows that of the tensor before it.
struct HeaderEntry {
  std::string_view name, type;  // the type as files spell it
  c10::IntArrayRef shape;
  std::uint64_t bytes = 0;
};

// The length of a header and its text, padded with spaces so that the data behind it is aligned. entries: in the order
// of the data.
std::string safetensors_header_bytes(const std::vector<HeaderEntry>& entries,
                                     const std::map<std::string, std::string>& metadata);

}  // namespace normtweak::formats
