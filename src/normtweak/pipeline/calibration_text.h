// Texts for a run: to calibrate with and to report on.
#pragma once
#include "normtweak/model/checkpoint.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::pipeline {

// `decoder` writes the text where no file is named; processes share that.
calibrate::TokenBatch calibration_text(const TextSource& source, const model::Checkpoint& checkpoint,
                                       const model::Decoder& decoder, ProgressSink& progress,
                                       const Processes& processes = {});

// How large that will be: of a file of ids, read now; Error if it cannot be.
struct TextSize {
  std::int64_t rows = 0, row_tokens = 0;
  std::int64_t tokens() const { return rows * row_tokens; }
};
TextSize calibration_size(const TextSource& source, const model::Checkpoint& checkpoint);

// Windows of the `gptq` protocol over a text. `context_limit`: of the model; a longer window is cut to it.
calibrate::TokenBatch external_windows(const ExternalText& text, const text::Tokenizer& tokenizer,
                                       std::int64_t context_limit);

// What figures are to be reported on, as tokens.
struct ExternalTokens {
  struct Text {
    std::string name;  // of the file
    calibrate::TokenBatch windows;
  };
  std::vector<Text> texts;
  std::string lambada_name;
  std::vector<evaluate::LambadaExample> lambada;  // empty: there is none
};

// Reads all of it before the work, so that what is missing or too short shows then. Throws Error naming the file.
ExternalTokens read_external(const External& external, const model::Checkpoint& checkpoint);

}  // namespace normtweak::pipeline
