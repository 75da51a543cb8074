// LAMBADA (arXiv 1606.06031): passages whose last word can be guessed from the whole passage, but hardly from its last
// sentence. The conventions are those of lm_eval's task `lambada_openai`.
//
// A text is split at its last space into `context` and " word"; white space left at the end of the context goes to the
// word. Context and word are encoded together. The word's tokens are the trailing ones, as many as this encoding is
// longer than that of the context.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

#include "normtweak/base/progress.h"
#include "normtweak/evaluate/statistic.h"
#include "normtweak/model/decoder.h"
#include "normtweak/text/tokenizer.h"

namespace normtweak::evaluate {

struct LambadaExample {
  std::vector<std::int64_t> ids;  // tokens that the tokenizer prepends (BOS), the context, the last word
  std::int64_t word_tokens = 0;   // how many of the last ids belong to the word
};

// context_limit: the model's context in tokens. A longer text is truncated on the left; the word's last token is only
// predicted and needs no position. Throws Error naming `origin` if the text has no last word, nothing before it, or a
// word that is too long.
LambadaExample lambada_example(std::string_view text, const text::Tokenizer& tokenizer, std::int64_t context_limit,
                               std::string_view origin);

// A file of JSON lines, each an object with the key "text"; blank lines are skipped. max_examples: at most this many,
// from the start; 0: all. Throws Error naming file and line.
std::vector<LambadaExample> read_lambada(const std::filesystem::path& path, const text::Tokenizer& tokenizer,
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

// Texts of similar length are batched, padded on the right; logits are computed only for the words. Throws Error if
// they are not finite.
LambadaScores score_lambada(const model::Decoder& model, const std::vector<LambadaExample>& examples,
                            const LambadaOptions& options, ProgressSink& progress);

}  // namespace normtweak::evaluate
