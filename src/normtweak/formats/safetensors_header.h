// The JSON header of a safetensors file, read without a tree: it may describe more than a million tensors.
#pragma once
#include <c10/util/ArrayRef.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace normtweak::formats {

struct SafetensorsHeader {
  struct Tensor {
    const std::string* type = nullptr;         // one of `types`
    std::uint64_t begin = 0, end = 0;          // of its data, from the end of the header
    std::uint32_t first_extent = 0, rank = 0;  // its part of `extents`
  };

  c10::IntArrayRef shape(const Tensor& tensor) const {
    return {extents.data() + tensor.first_extent, static_cast<std::size_t>(tensor.rank)};
  }

  std::vector<std::string> names;  // in the order of the data, like `tensors`
  std::vector<Tensor> tensors;
  std::vector<std::int64_t> extents;  // of all shapes
  std::set<std::string> types;        // as the file spells them
  std::map<std::string, std::string> metadata;
};

// Throws Error naming `origin` and the defect: what is not as the format wants it, what equals something else (a key of
// a description, the extent of another tensor's data), a shape that does not fill its data, data of more than
// `data_size` bytes, a hole, bytes of no tensor, or a name of more than 64 KiB.
SafetensorsHeader parse_safetensors_header(std::string_view text, std::uint64_t data_size, const std::string& origin);

}  // namespace normtweak::formats
