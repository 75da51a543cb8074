// Bytes of a block in an array of their own. Loops over such arrays, in arithmetic of bytes and with shifts that are
// constants, become vector instructions; a pointer to bytes might alias whatever is written, which forbids that.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace normtweak::formats {

template <std::size_t count>
std::array<std::uint8_t, count> bytes_at(const std::byte* source) {
  std::array<std::uint8_t, count> bytes;
  std::memcpy(bytes.data(), source, count);
  return bytes;
}

}  // namespace normtweak::formats
