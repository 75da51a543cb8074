// A text to report figures on, read, tokenized and cut.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>

#include "normtweak/base/progress.h"
#include "normtweak/evaluate/protocols.h"
#include "normtweak/text/tokenizer.h"

namespace normtweak::evaluate {

struct TextFile {
  std::filesystem::path path = {};
  bool rows = false;              // a data set with one row per line
  std::string protocol = "gptq";  // a row of protocols()
  std::int64_t context = 0;       // tokens in a window; 0: the protocol's, or the model's context if that is shorter
  std::int64_t max_tokens = 0;    // at most this many; 0: all
};

// Tokens in a window: at most context_limit, the model's context; a longer one that was asked for is noted.
std::int64_t window_tokens(const TextFile& text, std::int64_t context_limit, ProgressSink& progress);

// Windows over a text, of a protocol that has such. Throws Error naming the file if it is missing or too short.
Windows read_windows(const TextFile& text, const text::Tokenizer& tokenizer, std::int64_t context_limit,
                     ProgressSink& progress);

}  // namespace normtweak::evaluate
