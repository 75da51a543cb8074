#include "normtweak/pipeline/calibration_text.h"

#include <algorithm>

#include "normtweak/base/error.h"
#include "normtweak/evaluate/protocols.h"
#include "normtweak/text/corpus.h"

namespace normtweak::pipeline {
namespace {

calibrate::TokenBatch cut_real_text(const TextSource& source, const model::Checkpoint& checkpoint) {
  const auto tokenizer = load_tokenizer(checkpoint, "let the model write instead, with --strategy llm-qat");
  const auto corpus = text::read_text(source.real_text);
  const auto name = source.real_text.string();
  return calibrate::cut_text(tokenizer.encode(corpus.text, true, name), source.self.samples,
                             calibrate::tokens_in_row(source.self, checkpoint.numbers), name);
}

}  // namespace

calibrate::TokenBatch calibration_text(const TextSource& source, const model::Checkpoint& checkpoint,
                                       const model::Decoder& decoder, ProgressSink& progress,
                                       const Processes& processes) {
  if (!source.ids.empty()) {
    auto text = calibrate::load_token_batch(source.ids, decoder.config.vocabulary);
    if (text.tokens() > decoder.config.context) {
      fail("{}: rows of {} tokens, and the model's context holds {}", source.ids.string(), text.tokens(),
           decoder.config.context);
    }
    return text;
  }
  if (source.real_text.empty()) return calibrate::make_text(checkpoint, decoder, source.self, progress, processes);
  return cut_real_text(source, checkpoint);
}

TextSize calibration_size(const TextSource& source, const model::Checkpoint& checkpoint) {
  if (!source.ids.empty()) {
    const auto text = calibrate::load_token_batch(source.ids, checkpoint.numbers.vocabulary);
    return {text.samples(), text.tokens()};
  }
  if (!source.real_text.empty()) {
    const auto text = cut_real_text(source, checkpoint);
    return {text.samples(), text.tokens()};
  }
  calibrate::check_can_write(checkpoint, source.self);
  return {source.self.samples, calibrate::tokens_in_row(source.self, checkpoint.numbers)};
}

calibrate::TokenBatch external_windows(const ExternalText& text, const text::Tokenizer& tokenizer,
                                       std::int64_t context_limit) {
  const auto corpus = text.rows ? text::read_rows(text.path) : text::read_text(text.path);
  return evaluate::gptq_windows(tokenizer.encode(corpus.text, true, text.path.string()),
                                std::min(text.context, context_limit), text.max_tokens, text.path.string());
}

ExternalTokens read_external(const External& external, const model::Checkpoint& checkpoint) {
  ExternalTokens tokens;
  if (external.texts.empty() && !external.lambada) return tokens;
  const auto tokenizer = load_tokenizer(checkpoint, "leave out --eval-text, --eval-rows and --eval-lambada");
  const auto context = checkpoint.numbers.context;
  for (const auto& text : external.texts) {
    tokens.texts.push_back({text.path.filename().string(), external_windows(text, tokenizer, context)});
  }
  if (external.lambada) {
    const auto& [path, max_examples] = *external.lambada;
    tokens.lambada_name = path.filename().string();
    tokens.lambada = evaluate::read_lambada(path, tokenizer, context, max_examples);
  }
  return tokens;
}

}  // namespace normtweak::pipeline
