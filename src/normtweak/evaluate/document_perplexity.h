// Perplexity of documents, the protocol lm-eval: that of lm_eval's task `wikitext`, per word and per byte of the pages
// as the file has them, before they are detokenized.
#pragma once
#include <memory>

#include "normtweak/evaluate/task.h"

namespace normtweak::evaluate {

// Figures, over all documents with negative log likelihoods l_d in nats, of w_d words or bytes:
//   word_perplexity, byte_perplexity = exp(Σ l / Σ w),   bits_per_byte = Σ l / (Σ w · ln 2)
// and kld and top1_agreement over all predicted tokens, with a reference. Errors are those of a ratio of two sums over
// documents, to first order: sqrt(n / (n - 1) Σ (l_d - w_d Σ l / Σ w)²) / Σ w.
std::unique_ptr<Task> document_perplexity_task(const TaskOrder& order, const TaskInput& input, ProgressSink& progress);

}  // namespace normtweak::evaluate
