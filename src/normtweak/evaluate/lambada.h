// LAMBADA (arXiv 1606.06031): passages whose last word can be guessed from the whole of them, but hardly from their
// last sentence. The conventions are those of lm_eval's task `lambada_openai`.
//
// A text is split at its last space: `context`, then " word"; white space that is left at the end of the context goes
// to the word. Context + word is encoded whole, and the word is what exceeds the encoding of the context in length.
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
  std::vector<std::int64_t> ids;  // what the tokenizer puts first (BOS), the context, the last word
  std::int64_t word_tokens = 0;   // the last so many are the word's
};

// context_limit: tokens that the model takes in at a time. A longer text loses tokens at its front; the word's last
// token is only predicted and needs no place. Throws Error naming `origin` if the text has no last word, nothing
// before it, or too long a one.
LambadaExample lambada_example(std::string_view text, const text::Tokenizer& tokenizer, std::int64_t context_limit,
                               std::string_view origin);

// A file of JSON lines, each an object with the key "text"; blank lines count for nothing. `max_examples`: only so
// many from the front; 0: all. Throws Error naming file and line.
std::vector<LambadaExample> read_lambada(const std::filesystem::path& path, const text::Tokenizer& tokenizer,
                                         std::int64_t context_limit, std::int64_t max_examples);

struct LambadaScores {
  Statistic correct;                  // 1 where each of the word's tokens is the likeliest after the true ones before
  Statistic negative_log_likelihood;  // nats, of the whole word

  double accuracy() const { return correct.mean(); }
  double perplexity() const;  // exp of the mean over examples
};

struct LambadaOptions {
  std::int64_t batch_rows = 0;  // texts in one pass; 0: chosen for the device
  std::string_view stage = "lambada";
};

// Texts of like length go through the model together, padded on the right; logits exist only where the words are.
// Throws Error if they are not finite.
LambadaScores score_lambada(const model::Decoder& model, const std::vector<LambadaExample>& examples,
                            const LambadaOptions& options, ProgressSink& progress);

}  // namespace normtweak::evaluate
