// The special tokens around a text: the post_processor of tokenizer.json.
#pragma once
#include <cstdint>
#include <vector>

#include "normtweak/text/json_part.h"

namespace normtweak::text {

struct SpecialTokens {
  std::vector<std::int64_t> before, after;
};

// Reads null, ByteLevel (which only affects offsets), TemplateProcessing (its template for a single text),
// RobertaProcessing, BertProcessing and Sequence. Throws Error naming what is unsupported.
SpecialTokens read_post_processor(const JsonPart& part);

}  // namespace normtweak::text
