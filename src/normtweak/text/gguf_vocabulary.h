// What every kind of tokenizer has in GGUF metadata, under "tokenizer.ggml.":
//
//     tokens          spelled as the kind does, but control and user-defined ones as they are
//     token_type      1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
//     scores          of SentencePiece's kinds
//     merges          "a b"
//     ..._token_id    BOS, EOS, ...
//     add_bos_token, add_eos_token
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/text/json_part.h"
#include "normtweak/text/tokenizer_parts.h"

namespace normtweak::text {

enum GgufTokenType : std::int32_t {
  kGgufNormal = 1,
  kGgufUnknown = 2,
  kGgufControl = 3,
  kGgufUserDefined = 4,
  kGgufUnused = 5,
  kGgufByte = 6,
};

// Tokens with a role: what tokenizer_config.json and GGUF call them.
struct GgufRole {
  std::string_view role, key;
};
inline constexpr std::array<GgufRole, 4> kGgufRoles = {{{"bos_token", "bos_token_id"},
                                                        {"eos_token", "eos_token_id"},
                                                        {"unk_token", "unknown_token_id"},
                                                        {"pad_token", "padding_token_id"}}};

// All take the metadata as a whole, and throw Error naming the key.

// JSON must be UTF-8, while strings in GGUF files may hold any bytes.
const std::string& gguf_text(const JsonPart& part);

// All different; an empty one, for a removed token, becomes [EMPTY_id].
std::vector<std::string> read_gguf_tokens(const JsonPart& metadata);

// One of them, as that function returns it. id: is one.
std::string gguf_token(const JsonPart& metadata, std::size_t id);

std::vector<std::int64_t> read_gguf_types(const JsonPart& metadata, std::size_t tokens);  // empty if there are none
std::vector<double> read_gguf_scores(const JsonPart& metadata, std::size_t tokens);       // must be there

// As tokenizer.json has them. Must be there.
Json read_gguf_merges(const JsonPart& metadata);

// The id under tokenizer.ggml.KEY.
std::optional<std::size_t> read_gguf_id(const JsonPart& metadata, std::string_view key, std::size_t tokens);

// Control and unknown tokens, which are special, and user-defined ones. What GGUF does not specify follows llama.cpp:
// no white space is stripped, and tokens are matched in the raw text.
Json gguf_added_tokens(const std::vector<std::int64_t>& types, const std::vector<std::string>& tokens);

// add_bos, add_eos: where the file does not say.
Frame read_gguf_frame(const JsonPart& metadata, bool add_bos, bool add_eos);

}  // namespace normtweak::text
