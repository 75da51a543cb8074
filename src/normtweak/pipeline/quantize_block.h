// One block quantized, its linears in the order in which data reaches them: each for the inputs that it gets once the
// ones before it are quantized.
#pragma once
#include "normtweak/base/processes.h"
#include "normtweak/pipeline/stream.h"
#include "normtweak/quantize/plan.h"

namespace normtweak::pipeline {

struct BlockStreams {
  const Stream& quantized;                     // what reaches the block in the quantized model
  const Stream* exact = nullptr;               // and in the float model; null: drift is not corrected
  const quantize::BlockTokenWeights& weights;  // of the tokens, in the sums over the inputs
  std::int64_t first_row = 0;                  // of the whole text, among those of this process
};

// The linears that the plan names, quantized; the rest of the block as in `exact`. passes: the float block in the type
// of products; exact: with F32 weights. Other processes do the same; if their hardware rounds in another way, what the
// first one has counts. Throws Error naming the linear.
model::Block quantize_block(const model::Block& passes, const model::Block& exact, const BlockStreams& streams,
                            const quantize::QuantizationPlan& plan, const Processes& processes);

}  // namespace normtweak::pipeline
