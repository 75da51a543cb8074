// Perplexity of documents, the protocol lm-eval: that of lm_eval's task `wikitext`, per word and per byte of the pages
// as the file has them, before they are detokenized.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "normtweak/evaluate/continuations.h"
#include "normtweak/evaluate/task.h"

namespace normtweak::evaluate {

// A text as documents, tokenized and cut into windows.
struct DocumentText {
  struct Document {
    std::size_t windows = 0;
    std::int64_t words = 0, bytes = 0;
  };
  std::int64_t context = 0;  // tokens that the model reads in one window, at most
  std::vector<Document> documents;
  std::vector<Continuation> windows;  // of all documents, one after the other
  std::vector<std::int64_t> ids;      // of all documents, without what stands before them

  std::int64_t longest_window() const;  // tokens that the model reads
  std::int64_t tokens_scored() const;
};

// Throws Error naming the file if it is missing or empty, or if the tokenizer has no token to stand before a document.
DocumentText read_documents(const TextFile& text, const TaskInput& input, ProgressSink& progress);

// Nats per unit: Σ l / Σ w over documents with negative log likelihoods l_d and w_d units. The error is that of a ratio
// of two sums, to first order: sqrt(n / (n - 1) Σ (l_d - w_d Σ l / Σ w)²) / Σ w.
struct LossRate {
  double value = 0, error = 0;
  std::int64_t units = 0;

  double perplexity() const;
  double perplexity_error() const;
};
struct DocumentLoss {
  LossRate words, bytes;
};
// scores: of each window.
DocumentLoss document_loss(const DocumentText& text, const std::vector<ContinuationScore>& scores);

// Divergence from the reference and agreement with it, over all predicted tokens.
struct Comparison {
  Statistic divergence, agreement;
};
Comparison comparison(const std::vector<ContinuationScore>& scores);

// Figures: word_perplexity, byte_perplexity, bits_per_byte = Σ l / (Σ bytes · ln 2); kld and top1_agreement with a
// reference.
std::unique_ptr<Task> document_perplexity_task(const TaskOrder& order, const TaskInput& input, ProgressSink& progress);

}  // namespace normtweak::evaluate
