// Texts for a run: to calibrate with and to report on.
#pragma once
#include <optional>
#include <variant>

#include "normtweak/evaluate/document_perplexity.h"
#include "normtweak/evaluate/text_file.h"
#include "normtweak/model/checkpoint.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::pipeline {

struct TextSize {
  std::int64_t rows = 0, row_tokens = 0;
  std::int64_t tokens() const { return rows * row_tokens; }
};
// The text of a run, as far as it is known before the work starts.
struct RunCalibration {
  std::optional<calibrate::TokenBatch> given;  // nullopt: the model will write it
  TextSize size;
};
// Throws Error if the text of a file cannot be read, does not fit the model's vocabulary or context, or is too short,
// or if the model cannot write one with its tokenizer.
RunCalibration known_text(const TextSource& source, const model::Checkpoint& checkpoint);

// The same for a text to quantize and tweak with. Throws Error as well if it has too few rows to be split and shared,
// or rows of one token.
RunCalibration read_calibration(const TextSource& source, const model::Checkpoint& checkpoint,
                                const Processes& processes);

// If new text for each epoch is asked for: throws UsageError if the given one is cut from a text file, or Error naming
// the file of ids if the model cannot go on with it.
void check_fresh_text(const RunCalibration& calibration, const TextSource& source, const TweakOptions& tweak);

// The texts to report figures on, tokenized.
struct ExternalTokens {
  struct Text {
    std::string name;  // of the file
    std::string protocol;
    std::variant<evaluate::Windows, evaluate::DocumentText> content;  // as the protocol cuts it

    at::Tensor ids() const;            // i64: of the whole text
    std::int64_t longest_row() const;  // tokens that a model reads at once
  };
  std::vector<Text> texts;
  std::string lambada_name;
  std::vector<evaluate::Continuation> lambada;  // empty: none requested
};

// Reads everything before the work starts, so that a missing or too short text is reported early. Throws Error naming
// the file.
ExternalTokens read_external(const External& external, const model::Checkpoint& checkpoint, ProgressSink& progress);

// Adds a note for each text that rows of the calibration text occur in. Tokens are compared, not files.
void note_texts_seen(const ExternalTokens& external, const calibrate::TokenBatch& calibration, ProgressSink& progress);

}  // namespace normtweak::pipeline
