#include "normtweak/text/byte_level.h"

#include <array>

#include "normtweak/text/utf8.h"

namespace normtweak::text {
namespace {

constexpr char32_t kFirstStandIn = 0x100, kPastStandIns = kFirstStandIn + 68;

struct Alphabet {
  std::array<std::string, 256> characters;
  std::array<std::optional<std::uint8_t>, kPastStandIns> bytes;  // indexed by code point
};

constexpr bool stands_for_itself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

Alphabet make_alphabet() {
  Alphabet alphabet;
  char32_t stand_in = kFirstStandIn;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char32_t point = stands_for_itself(byte) ? byte : stand_in++;
    append_utf8(alphabet.characters[byte], point);
    alphabet.bytes[point] = static_cast<std::uint8_t>(byte);
  }
  return alphabet;
}

const Alphabet& alphabet() {
  static const Alphabet instance = make_alphabet();
  return instance;
}

}  // namespace

const std::string& byte_level_character(std::uint8_t byte) { return alphabet().characters[byte]; }

std::string to_byte_level(std::string_view bytes) {
  std::string token;
  token.reserve(bytes.size() + bytes.size() / 4);
  for (const char byte : bytes) token += byte_level_character(static_cast<std::uint8_t>(byte));
  return token;
}

std::optional<std::string> from_byte_level(std::string_view token) {
  std::string bytes;
  bytes.reserve(token.size());
  for (std::size_t at = 0; at < token.size();) {
    const auto point = code_point_at(token, at);
    if (!point.valid || point.value >= kPastStandIns) return std::nullopt;
    const auto byte = alphabet().bytes[point.value];
    if (!byte) return std::nullopt;
    bytes.push_back(static_cast<char>(*byte));
    at += point.length;
  }
  return bytes;
}

}  // namespace normtweak::text
