// Where the values of a JSON text are. The text may be broken, or not be JSON at all.
#pragma once
#include <cstddef>
#include <string_view>
#include <vector>

namespace normtweak::fuzz {

struct Stretch {
  std::size_t begin = 0, size = 0;  // bytes
};

// Keys, strings, numbers, words, and whole arrays and objects, in the order of their first bytes.
std::vector<Stretch> json_values(std::string_view text);

}  // namespace normtweak::fuzz
