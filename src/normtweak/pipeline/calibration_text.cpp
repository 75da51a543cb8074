#include "normtweak/pipeline/calibration_text.h"

#include <algorithm>

#include "normtweak/base/error.h"
#include "normtweak/evaluate/protocols.h"
#include "normtweak/text/corpus.h"

namespace normtweak::pipeline {

calibrate::TokenBatch calibration_text(const TextSource& source, const model::Checkpoint& checkpoint,
                                       const model::Decoder& decoder, ProgressSink& progress) {
  if (!source.ids.empty()) {
    auto text = calibrate::load_token_batch(source.ids, decoder.config.vocabulary);
    if (text.tokens() > decoder.config.context) {
      fail("{}: rows of {} tokens, and the model's context holds {}", source.ids.string(), text.tokens(),
           decoder.config.context);
    }
    return text;
  }
  if (source.real_text.empty()) return calibrate::make_text(checkpoint, decoder, source.self, progress);
  const auto corpus = text::read_text(source.real_text);
  return calibrate::cut_text(load_tokenizer(checkpoint).encode(corpus.text, true), source.self.samples,
                             source.self.tokens, source.real_text.string());
}

calibrate::TokenBatch external_windows(const ExternalText& text, const text::Tokenizer& tokenizer,
                                       std::int64_t context_limit) {
  const auto corpus = text.rows ? text::read_rows(text.path) : text::read_text(text.path);
  return evaluate::gptq_windows(tokenizer.encode(corpus.text, true), std::min(text.context, context_limit),
                                text.max_tokens, text.path.string());
}

}  // namespace normtweak::pipeline
