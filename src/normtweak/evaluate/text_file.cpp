#include "normtweak/evaluate/text_file.h"

#include <algorithm>

#include "normtweak/base/error.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/text/corpus.h"

namespace normtweak::evaluate {

std::int64_t window_tokens(const TextFile& text, std::int64_t context_limit, ProgressSink& progress) {
  if (text.context > context_limit) {
    progress.note(fmt::format("--context {}: the model's context holds {}, and so does a window of {}", text.context,
                              counted(context_limit, "token"), text.path.string()));
  }
  const auto& protocol = find_protocol(text.protocol);
  const auto usual = protocol.context > 0 ? protocol.context : context_limit;
  return std::min(text.context > 0 ? text.context : usual, context_limit);
}

Windows read_windows(const TextFile& text, const text::Tokenizer& tokenizer, std::int64_t context_limit,
                     ProgressSink& progress) {
  const auto& protocol = find_protocol(text.protocol);
  const auto context = window_tokens(text, context_limit, progress);
  const auto corpus = text.rows ? text::read_rows(text.path) : text::read_text(text.path);
  const auto special = protocol.special_as_text ? text::SpecialSpellings::as_text : text::SpecialSpellings::recognised;
  const auto ids = tokenizer.encode(corpus.text, true, text.path.string(), special);
  return cut(protocol, ids, tokenizer.prefix(), {.context = context, .max_tokens = text.max_tokens},
             text.path.string());
}

}  // namespace normtweak::evaluate
