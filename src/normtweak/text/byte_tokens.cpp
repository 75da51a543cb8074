#include "normtweak/text/byte_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace normtweak::text {

std::optional<std::uint8_t> byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with('>')) return std::nullopt;
  std::uint8_t byte = 0;
  const auto digits = token.substr(3, 2);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return byte;
}

ByteTokens::ByteTokens(const Vocabulary& vocabulary) {
  for (std::size_t byte = 0; byte < ids_.size(); ++byte) {
    ids_[byte] = vocabulary.id_of(fmt::format("<0x{:02X}>", byte)).value_or(-1);
  }
}

bool ByteTokens::is_complete() const { return std::ranges::find(ids_, -1) == ids_.end(); }

bool ByteTokens::append(std::string_view before, std::string_view text, std::string_view after,
                        std::vector<std::int64_t>& ids) const {
  const auto count = ids.size();
  if (append(before, ids) && append(text, ids) && append(after, ids)) return true;
  ids.resize(count);
  return false;
}

bool ByteTokens::append(std::string_view text, std::vector<std::int64_t>& ids) const {
  for (const char byte : text) {
    const auto id = ids_[static_cast<std::uint8_t>(byte)];
    if (id < 0) return false;
    ids.push_back(id);
  }
  return true;
}

}  // namespace normtweak::text
