// Where each of many names stands in a list, at eight bytes a name: a file may have more than a million tensors.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace normtweak::formats {

class NameIndex {
 public:
  // Reads all of `names`, which must not change from then on. Returns a name that occurs twice, if there is one.
  std::optional<std::string> build(const std::vector<std::string>& names);

  // `names`: those given to build().
  std::optional<std::size_t> find(const std::vector<std::string>& names, std::string_view name) const;

 private:
  // The slot of `name`: where it is, or the empty one where it belongs.
  std::size_t slot_of(const std::vector<std::string>& names, std::string_view name) const;

  std::vector<std::uint32_t> slots_;  // open addressing: 1 + the place of a name, or 0; a power of two, half empty
};

}  // namespace normtweak::formats
