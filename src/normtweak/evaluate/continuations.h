// Likelihoods of the last tokens of texts: of a last word, an answer, a window of a document. One scorer for all tasks
// that ask how likely a text goes on in a certain way.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "normtweak/base/progress.h"
#include "normtweak/evaluate/statistic.h"
#include "normtweak/model/decoder.h"
#include "normtweak/text/tokenizer.h"

namespace normtweak::evaluate {

struct Continuation {
  std::vector<std::int64_t> ids;
  std::int64_t predicted = 0;  // how many of the last ids are predicted, each from all before it
};

// A context and what follows it, as lm_eval's models encode them: white space at the end of the context goes to the
// continuation, and both are encoded together, after the tokens that the tokenizer prepends. The continuation's tokens
// are the trailing ones, as many as this encoding is longer than that of the context.
//
// context_limit: the model's context in tokens. A longer text is truncated on the left; its last token is only
// predicted and needs no position. Throws Error naming `origin` and `what` (of the continuation: "the last word") if
// the context is blank, or if the continuation has no tokens of its own or more than the model's context holds.
Continuation encode_continuation(std::string_view context, std::string_view continuation,
                                 const text::Tokenizer& tokenizer, std::int64_t context_limit, std::string_view origin,
                                 std::string_view what);

struct ContinuationOptions {
  std::int64_t batch_rows = 0;                // texts per pass; 0: chosen for the device
  const model::Decoder* reference = nullptr;  // scored as well, and compared with
  bool greedy = false;                        // whether greedy decoding is asked for
  std::string_view stage = "evaluate";
};

struct ContinuationScore {
  double log_likelihood = 0;        // nats, of all predicted tokens
  bool greedy = true;               // each of them is the likeliest, given the true ones before
  Statistic divergence, agreement;  // from and with the reference, over the predicted tokens
};

// Scores of each model, one for each continuation, in their order; of the reference as well, in a last element without
// divergence. The models share device and vocabulary. Rows of similar length are batched, the longest first, so that
// running out of memory shows at once. What texts have in common at their beginning is computed once, see text_rows.h.
// Logits are computed only for the predicted tokens. Throws Error if they are not finite.
std::vector<std::vector<ContinuationScore>> score_continuations(const std::vector<const model::Decoder*>& models,
                                                                const std::vector<Continuation>& continuations,
                                                                const ContinuationOptions& options,
                                                                ProgressSink& progress);

// The same of one model.
std::vector<std::vector<ContinuationScore>> score_continuations(const model::Decoder& model,
                                                                const std::vector<Continuation>& continuations,
                                                                const ContinuationOptions& options,
                                                                ProgressSink& progress);

}  // namespace normtweak::evaluate
