// The ids of special tokens that config.json and generation_config.json give.
#pragma once
#include <cstdint>
#include <vector>

#include "normtweak/model/checkpoint.h"

namespace normtweak::model {

// Ids that end a document; may be empty. Ids outside the vocabulary are left out. Throws Error naming file and key if a
// value is neither an id nor a list of ids.
std::vector<std::int64_t> end_of_text_ids(const Checkpoint& checkpoint);

// These and the BOS and padding ids.
std::vector<std::int64_t> marker_ids(const Checkpoint& checkpoint);

// Adds a note for each key with an id outside the vocabulary, and for a generation_config.json that cannot be used.
// Throws Error if config.json gives something else than ids.
void check_token_ids(Checkpoint& checkpoint);

}  // namespace normtweak::model
