// The merges of a tokenizer.json as GGUF metadata have them: as a list for byte-level BPE, as scores of their results
// for SentencePiece's kind.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "normtweak/text/json_part.h"

namespace normtweak::text {

// "a b" for each. merges: a list of such, or of pairs. Throws Error for a part with a space, which no byte-level token
// has.
std::vector<std::string> written_merges(const JsonPart& merges);

// llama.cpp merges whatever two neighbours form a token, the highest score first. The scores with which that gives the
// same as these merges; 0 of a token that no merge makes. Throws Error if there are none: if the merges of a token come
// in several places of the order, or if neighbours that form a normal token are not among the merges.
std::vector<float> scores_of_merges(const JsonPart& merges, const std::vector<std::string>& tokens,
                                    const std::vector<std::int32_t>& types);

// Whether texts get a space in front, by the normalizer and the pre-tokenizer of SentencePiece's kind in `document`.
// Throws Error naming a step that llama.cpp does not have.
bool has_space_prefix(const JsonPart& document);

}  // namespace normtweak::text
