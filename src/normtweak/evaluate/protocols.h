// Perplexity protocols: how a text is cut into rows, and which of their positions are scored. Their figures are not
// comparable.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/calibrate/token_batch.h"
#include "normtweak/evaluate/scores.h"

namespace normtweak::evaluate {

struct Protocol {
  std::string_view name, description;
  std::int64_t context = 0;      // tokens in a window, if not said otherwise; 0: the model's context
  bool special_as_text = false;  // the spelling of a special token in the text is plain text
  bool own_begin = false;        // each window's first token gives way to the one that the tokenizer puts before a text
  bool second_half = false;      // scores only the positions from the middle on whose next token is in the window
  bool documents = false;        // document by document, see documents.h; the facts above do not apply
};

std::span<const Protocol> protocols();

// Throws Error listing the names if there is none of that name.
const Protocol& find_protocol(std::string_view name);

// A text cut into rows.
struct Windows {
  calibrate::TokenBatch rows;
  Scored scored;
};

struct WindowOptions {
  std::int64_t context = 0;     // tokens in a window
  std::int64_t max_tokens = 0;  // at most this many, from the start, rounded down to whole windows; 0: all
};

// Non-overlapping windows of the ids of a text, which was tokenized once; the remainder is dropped. prefix: what the
// tokenizer puts before a text. Throws Error naming `origin`, the tokens needed and found if there is no whole window.
Windows cut(const Protocol& protocol, const std::vector<std::int64_t>& ids, const std::vector<std::int64_t>& prefix,
            const WindowOptions& options, std::string_view origin);

}  // namespace normtweak::evaluate
