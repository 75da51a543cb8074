// The points from which llama.cpp's IQ1, IQ2 and IQ3 types choose: short runs of weights, of a few levels each.
// llama.cpp has fixed them; they follow from no rule.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace normtweak::formats {

class Grid {
 public:
  // Of all runs of `length` levels, in ascending order as numbers whose first digit counts least, those whose bit is
  // set in `members`: hexadecimal digits, of which each holds four bits, the lowest first.
  Grid(std::span<const std::int8_t> levels, std::size_t length, std::string_view members);

  // The `length()` values of a point. index: below size()
  const std::int8_t* operator[](std::size_t index) const { return values_.data() + index * length_; }
  std::size_t size() const { return values_.size() / length_; }
  std::size_t length() const { return length_; }

 private:
  std::size_t length_;
  std::vector<std::int8_t> values_;
};

// Made at the first call.
const Grid& iq1_grid();      // 2048 runs of 8, of -1, 0, 1
const Grid& iq2_xxs_grid();  // 256 runs of 8, of 8, 25, 43, as in the next two
const Grid& iq2_xs_grid();   // 512
const Grid& iq2_s_grid();    // 1024
const Grid& iq3_xxs_grid();  // 256 runs of 4, of 4, 12, 20, ..., 52, 62
const Grid& iq3_s_grid();    // 512 runs of 4, of 1, 3, 5, ..., 15

}  // namespace normtweak::formats
