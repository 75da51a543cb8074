#include "normtweak/base/error.h"

#include <iterator>

namespace normtweak {
namespace {

// Escapes as in C++. UTF-8 passes unchanged, since its bytes are not control characters.
std::string spelled_out(std::string_view message) {
  std::string line;
  line.reserve(message.size());
  for (const char letter : message) {
    const auto byte = static_cast<unsigned char>(letter);
    if (letter == '\n') {
      line += "\\n";
    } else if (letter == '\t') {
      line += "\\t";
    } else if (byte < 0x20 || byte == 0x7F) {
      fmt::format_to(std::back_inserter(line), "\\x{:02x}", byte);
    } else {
      line += letter;
    }
  }
  return line;
}

}  // namespace

Error::Error(std::string_view message) : std::runtime_error(spelled_out(message)) {}

}  // namespace normtweak
