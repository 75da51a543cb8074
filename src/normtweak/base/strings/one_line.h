// Text for the user that may quote files: one line, short enough to read, harmless to a terminal and valid UTF-8.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace normtweak {

// Bytes of the longest message, which makes a line of less than 300 with the program's name in front, and of a value
// quoted in one.
inline constexpr std::size_t kLongestLine = 285, kLongestValue = 100;

// Control characters, whatever else ends a line or turns its direction, and bytes that are no UTF-8 are spelled out as
// in C++: \n, \x1b, \u2028. Then, if more than `most` bytes remain, the longest words lose their middle, which is
// replaced by "…": first values, then paths, and only then the middle of the line. The beginning, which names the file,
// the end of each path, which is its name, and the end of the line, which is the advice, stay.
std::string one_line(std::string_view text, std::size_t most = kLongestLine);

// `text` without its middle, if it has more than `most` bytes. No UTF-8 sequence is cut.
std::string without_middle(std::string_view text, std::size_t most);

}  // namespace normtweak
