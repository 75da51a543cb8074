// LAMBADA (arXiv 1606.06031): passages whose last word can be guessed from the whole passage, but hardly from its last
// sentence. The conventions are those of lm_eval's tasks lambada_openai and lambada_standard, which differ in their
// data alone: OpenAI's passages with their punctuation and capitals, and the original ones in small letters and tokens.
//
// A text is split at its last space into `context` and " word", a continuation of it.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

#include "normtweak/base/progress.h"
#include "normtweak/evaluate/continuations.h"
#include "normtweak/evaluate/statistic.h"
#include "normtweak/evaluate/task.h"
#include "normtweak/model/decoder.h"
#include "normtweak/text/tokenizer.h"

namespace normtweak::evaluate {

// context_limit: the model's context in tokens. Throws Error naming `origin` if the text has no last word, nothing
// before it, or a word that is too long.
Continuation lambada_example(std::string_view text, const text::Tokenizer& tokenizer, std::int64_t context_limit,
                             std::string_view origin);

// A file of JSON lines, each an object with the key "text"; blank lines are skipped. max_examples: at most this many,
// from the start; 0: all. Throws Error naming file and line.
std::vector<Continuation> read_lambada(const std::filesystem::path& path, const text::Tokenizer& tokenizer,
                                       std::int64_t context_limit, std::int64_t max_examples);

struct LambadaScores {
  Statistic correct;                  // 1 if each of the word's tokens is the likeliest given the true ones before
  Statistic negative_log_likelihood;  // nats, of the whole word

  double accuracy() const { return correct.mean(); }
  double perplexity() const;  // exp of the mean over examples
};

struct LambadaOptions {
  std::int64_t batch_rows = 0;  // texts per pass; 0: chosen for the device
  std::string_view stage = "lambada";
};

// Throws Error if logits are not finite.
LambadaScores score_lambada(const model::Decoder& model, const std::vector<Continuation>& examples,
                            const LambadaOptions& options, ProgressSink& progress);

// Figures: acc, perplexity.
std::unique_ptr<Task> lambada_task(const TaskOrder& order, const TaskInput& input, ProgressSink& progress);

}  // namespace normtweak::evaluate
