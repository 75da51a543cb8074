// Text generation: batched decoding with a preallocated key-value cache.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "normtweak/base/processes/processes.h"
#include "normtweak/base/progress.h"
#include "normtweak/model/decoder.h"

namespace normtweak::model {

struct SamplingOptions {
  double temperature = 1.0;  // divides the logits; must be positive
  std::int64_t top_k = 0;    // only the k likeliest tokens; 0: all
  double top_p = 1.0;        // only the likeliest tokens that together have this probability; 1: all
};

struct GenerationOptions {
  std::int64_t samples = 128;  // rows
  std::int64_t tokens = 1024;  // per row, start tokens included
  std::int64_t batch = 0;      // rows per batch; 0: as many as memory and an even share allow
  SamplingOptions sampling;
  std::int64_t greedy_from = 3;            // minimum number of greedy tokens after a document's first token
  std::int64_t greedy_to = 5;              // and maximum (drawn uniformly); then sampling
  std::vector<std::int64_t> prefix;        // ids that start every document (BOS), before its first token
  std::vector<std::int64_t> first_tokens;  // a document's first token is drawn from these; at least one
  std::vector<std::int64_t> end_tokens;    // each ends a document; a new one then starts in the same row
  std::vector<std::int64_t> never;         // ids that are never sampled: special tokens other than the end
  std::uint64_t seed = 0;
  // Asked before each step of decoding. Once it is true, writing ends, and ids that are not written are 0: who asks for
  // that drops the text. Empty: all is written.
  std::function<bool()> stops = {};
};

// i64 [samples, tokens] on the CPU, in every process. The same seed, device, thread count and batch size give the same
// ids. With `batch` given, they therefore do not depend on the number of processes, which share the batches. Throws
// Error if the rows are longer than the model's context or if the logits are not finite.
at::Tensor generate(const Decoder& decoder, const GenerationOptions& options, ProgressSink& progress,
                    const Processes& processes = {});

// Rows per batch: `options.batch`, or as many as fit with their cache and what a step needs besides
// (model/activations.h), in batches of about the same size. On a GPU they may take nine tenths of the workspace,
// since a step of few rows leaves it idle, and brings all blocks that are streamed; on a CPU a quarter of what the
// model's weights take, or 4 GiB, and never more than half of the workspace.
std::int64_t rows_in_batch(const Decoder& decoder, const GenerationOptions& options, int processes);

// logits: f32 [rows, vocabulary] → i64 [rows], sampled after temperature, top-k and top-p.
at::Tensor sample(const at::Tensor& logits, const SamplingOptions& options, at::Generator generator);

}  // namespace normtweak::model
