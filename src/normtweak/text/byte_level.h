// The byte-level alphabet of GPT-2: each of the 256 bytes written as one printable character, so that a vocabulary of
// any bytes can be spelled in JSON. 0x21..0x7E, 0xA1..0xAC and 0xAE..0xFF stand for themselves (as code points); the
// other 68 bytes, in order, are U+0100, U+0101, ...: a space is U+0120, a newline U+010A.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace normtweak::text {

// The character of one byte, as UTF-8.
const std::string& byte_level_character(std::uint8_t byte);

std::string to_byte_level(std::string_view bytes);

// The bytes that `token` spells; nullopt if it has a character outside the alphabet, as added tokens may.
std::optional<std::string> from_byte_level(std::string_view token);

}  // namespace normtweak::text
