// Texts for a run: to calibrate with and to report on.
#pragma once
#include "normtweak/model/checkpoint.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::pipeline {

// If no file is named, `decoder` generates the text; processes share the work.
calibrate::TokenBatch calibration_text(const TextSource& source, const model::Checkpoint& checkpoint,
                                       const model::Decoder& decoder, ProgressSink& progress,
                                       const Processes& processes = {});

// The size that the text will have. For that a file is read, and a text cut, so that one that is missing, too short or
// foreign to the model is reported before the work starts; as is a tokenizer with which the model cannot write.
struct TextSize {
  std::int64_t rows = 0, row_tokens = 0;
  std::int64_t tokens() const { return rows * row_tokens; }
};
TextSize calibration_size(const TextSource& source, const model::Checkpoint& checkpoint);

// Windows of the `gptq` protocol over a text. context_limit: the model's context, which caps the window.
calibrate::TokenBatch external_windows(const ExternalText& text, const text::Tokenizer& tokenizer,
                                       std::int64_t context_limit);

// The texts to report figures on, tokenized.
struct ExternalTokens {
  struct Text {
    std::string name;  // of the file
    calibrate::TokenBatch windows;
  };
  std::vector<Text> texts;
  std::string lambada_name;
  std::vector<evaluate::LambadaExample> lambada;  // empty: none requested
};

// Reads everything before the work starts, so that a missing or too short text is reported early. Throws Error naming
// the file.
ExternalTokens read_external(const External& external, const model::Checkpoint& checkpoint);

}  // namespace normtweak::pipeline
