// One block quantized, its linears in the order in which data reaches them: each for the inputs that it gets once the
// ones before it are quantized.
#pragma once
#include "normtweak/pipeline/blockwise.h"
#include "normtweak/pipeline/stream.h"

namespace normtweak::pipeline {

struct BlockStreams {
  const Stream& quantized;                     // what reaches the block in the quantized model
  const Stream* exact = nullptr;               // and in the float model; null: drift is not corrected
  const quantize::BlockTokenWeights& weights;  // of the tokens, in the sums over the inputs
};

// The linears that the plan names, quantized; the rest of the block as in `exact`. passes: the float block in the type
// of products; exact: with F32 weights. Other processes do the same; if their hardware rounds in another way, what the
// first one has counts. Throws Error naming the linear.
model::Block quantize_block(const model::Block& passes, const model::Block& exact, const BlockStreams& streams,
                            const quantize::QuantizationPlan& plan, const Processes& processes);

// Whether a linear of the block wants a Hessian of its input.
bool wants_hessians(const model::Block& block, const quantize::QuantizationPlan& plan);

}  // namespace normtweak::pipeline
