// Base64 (RFC 4648), as tokenizer.json spells a charsmap and tiktoken its tokens.
#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace normtweak::text {

std::optional<std::string> from_base64(std::string_view text);  // nullopt if it is malformed
std::string to_base64(std::string_view bytes);

}  // namespace normtweak::text
