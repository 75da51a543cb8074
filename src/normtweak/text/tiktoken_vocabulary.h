// tiktoken's vocabulary file: a line for each token, its bytes in base64 and its rank, which is its id and decides on
// the order of merges (tiktoken/load.py):
//
//     IQ== 0
//     Ig== 1
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace normtweak::text {

// Whether it is text, as no model file of SentencePiece is.
bool is_tiktoken(std::string_view content);

// The tokens' bytes by rank. Throws Error naming `origin` and the line unless the ranks count from 0, all tokens differ
// and each byte is one. Empty lines are skipped, as tiktoken does.
std::vector<std::string> read_tiktoken(std::string_view content, std::string_view origin);

// The last of these checks, for vocabularies of other files. tokens: all different.
void check_ranked_tokens(const std::vector<std::string>& tokens, std::string_view origin);

}  // namespace normtweak::text
