// A tokenizer.json for SentencePiece's model file, as transformers 5 makes it (_convert_from_sentencepiece).
#pragma once
#include <map>
#include <string>
#include <vector>

#include "normtweak/base/json/json.h"
#include "normtweak/text/added_tokens.h"
#include "normtweak/text/sentencepiece_model.h"

namespace normtweak::text {

// The parts of the general class; others replace some of them. Without added tokens and post-processor. needs_bpe: the
// class merges, whatever the model was trained for. Throws Error naming `origin` if the tokens `renamed`, by their ids,
// are among merges.
Json sentencepiece_tokenizer_json(const SentencePieceModel& model, bool needs_bpe,
                                  const std::map<std::int64_t, std::string>& renamed, std::string_view origin);

// Control and user-defined pieces, which are matched in the raw text.
std::vector<AddedToken> sentencepiece_added_tokens(const SentencePieceModel& model);

}  // namespace normtweak::text
