// The run over the blocks: what reaches a block is the output of the quantized (and tweaked) blocks before it.
#pragma once
#include <optional>
#include <vector>

#include "normtweak/base/processes.h"
#include "normtweak/base/progress.h"
#include "normtweak/calibrate/token_batch.h"
#include "normtweak/model/decoder.h"
#include "normtweak/quantize/plan.h"
#include "normtweak/tweak/layerwise.h"
#include "normtweak/tweak/ridge.h"

namespace normtweak::pipeline {

struct BlockwiseOptions {
  // Null: the blocks are quantized already. Weights of tokens and the correction of drift take passes of their own, so
  // it asks for them only where some linear wants a Hessian.
  const quantize::QuantizationPlan* plan = nullptr;
  std::optional<tweak::LayerwiseOptions> layerwise;  // norms tweaked by steps of Adam; nothing: they are not
  std::optional<tweak::RidgeOptions> ridge = {};     // norms tweaked in closed form; nothing: they are not
  Processes processes = {};                          // that share the rows; with `layerwise`, one alone
};

struct BlockwiseResult {
  model::Decoder decoder;                       // quantized, with tweaked norms where that was asked for
  std::vector<tweak::LayerwiseReport> tweaked;  // layer-wise: a row a block, and one for the final norm if included
  std::vector<tweak::RidgeReport> solved;       // a row a norm that was solved in closed form
  std::int64_t steps = 0;                       // of the layer-wise tweak
};

// exact: the float model in F32, whose weights are quantized. passes: the float model in the type that products run in.
// start: what the result is a copy of, but for the blocks: `passes`, or the quantized model whose norms are tweaked.
// Several processes give the same result to each: the sums of the Hessians differ from one process's in their order
// alone, and codes are the first one's. Throws Error naming the block or linear where something is not finite.
BlockwiseResult run_blocks(const model::Decoder& exact, const model::Decoder& passes, const model::Decoder& start,
                           const calibrate::TokenBatch& text, const BlockwiseOptions& options, ProgressSink& progress);

}  // namespace normtweak::pipeline
