// Tokens that stand for one byte each, for characters that a vocabulary lacks: <0x00> ... <0xFF>.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "normtweak/text/vocabulary.h"

namespace normtweak::text {

// The byte that a token stands for; nullopt for other tokens.
std::optional<std::uint8_t> byte_of_token(std::string_view token);

class ByteTokens {
 public:
  explicit ByteTokens(const Vocabulary& vocabulary);

  bool is_complete() const;

  // Appends the ids of all bytes of the three texts; false, and nothing is appended, if one of them has no token.
  bool append(std::string_view before, std::string_view text, std::string_view after,
              std::vector<std::int64_t>& ids) const;

 private:
  bool append(std::string_view text, std::vector<std::int64_t>& ids) const;

  std::array<std::int64_t, 256> ids_ = {};  // -1 if the vocabulary lacks the token
};

}  // namespace normtweak::text
