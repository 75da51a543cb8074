// Parts of a tokenizer.json that are written where a model comes without one.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/base/json/json.h"

namespace normtweak::text {

// Appends without looking up the key, which would take half a minute for a hundred thousand tokens. The tokens must be
// distinct; their ids are in order.
Json vocabulary_as_json(const std::vector<std::string>& tokens);

// Matched in the raw text, with the white space around it left alone.
Json added_token(std::size_t id, const std::string& content, bool special);

// {"type": "Sequence", NAME: steps}; null if there are none, and the step itself if there is one.
Json sequence(std::string_view name, Json::array_t steps);

// A BPE model of SentencePiece's kind, without `vocab` and `merges`. unknown: the unknown token, or empty.
Json character_bpe(std::string_view unknown, bool byte_fallback);

Json metaspace(std::string_view prepend_scheme, bool split);
Json byte_level(bool add_prefix_space, bool use_regex);
Json isolated_split(std::string_view regex);
Json replace_string(std::string_view from, std::string_view to);

// Spaces for their marks and bytes for their tokens. strips: takes off the space that was put in front of the text.
Json fallback_decoder(bool strips);

struct PlacedToken {
  std::string token;
  std::size_t id = 0;
};

struct Frame {  // tokens around a text
  std::vector<PlacedToken> before, after;
};

// TemplateProcessing; null without such tokens.
Json template_of(const Frame& frame);

}  // namespace normtweak::text
