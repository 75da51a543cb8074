// The block-by-block run: each block's input is the output of the quantized (and tweaked) blocks before it.
#pragma once
#include <optional>
#include <vector>

#include "normtweak/base/processes/processes.h"
#include "normtweak/base/progress.h"
#include "normtweak/calibrate/token_batch.h"
#include "normtweak/model/decoder.h"
#include "normtweak/quantize/plan.h"
#include "normtweak/quantize/signround.h"
#include "normtweak/transform/transforms.h"
#include "normtweak/tweak/layerwise.h"

namespace normtweak::pipeline {

struct BlockwiseOptions {
  // Null: the blocks are quantized already. Token weights and drift correction cost extra passes; the plan must request
  // them only if some linear needs a Hessian.
  const quantize::QuantizationPlan* plan = nullptr;
  transform::TransformOptions transform = {};        // of the blocks that the plan quantizes
  std::optional<tweak::LayerwiseOptions> layerwise;  // tweak norms with Adam; nullopt: do not
  bool keeps_places = false;                         // there is memory for what linears read (RunMemory)
  Processes processes = {};                          // share the rows; must be a single one with `layerwise`
};

struct BlockwiseResult {
  model::Decoder decoder;                           // quantized, with tweaked norms if requested
  std::vector<transform::BlockReport> transformed;  // one entry per block, if there is a transform
  std::vector<quantize::SignRoundReport> rounded;   // one entry per block whose rounding was learned
  std::vector<tweak::LayerwiseReport> tweaked;      // layer-wise: one entry per block, and one for a tweaked final norm
  std::int64_t steps = 0;                           // of the layer-wise tweak
};

// exact: the float model in F32, whose weights are quantized. passes: the float model in the compute dtype. start: the
// model that the result copies everything but the blocks from: `passes`, or the quantized model whose norms are
// tweaked. All processes get the same result: Hessian sums differ from those of a single process only in summation
// order, and codes are broadcast from rank 0. Throws Error naming the block or linear where a value is not finite.
BlockwiseResult run_blocks(const model::Decoder& exact, const model::Decoder& passes, const model::Decoder& start,
                           const calibrate::TokenBatch& text, const BlockwiseOptions& options, ProgressSink& progress);

}  // namespace normtweak::pipeline
