// Transforms one block before it is quantized, by what its linears read on the quantized stream.
#pragma once
#include "normtweak/base/processes/processes.h"
#include "normtweak/pipeline/quantize_block.h"
#include "normtweak/transform/transforms.h"

namespace normtweak::pipeline {

struct TransformedBlock {
  model::Block passes;  // the float block in the compute dtype: it computes what it did before
  model::Block exact;   // with F32 weights, as they are to be quantized
  transform::BlockReport report;
};

// passes, exact, streams, plan: as for quantize_block(); family: of the model; stored: dtype of norms in the file. All
// processes do the same work; rank 0's result is broadcast.
TransformedBlock transform_block(const model::Block& passes, const model::Block& exact, const BlockStreams& streams,
                                 const model::Family& family, const quantize::QuantizationPlan& plan,
                                 const transform::TransformOptions& options, at::ScalarType stored,
                                 const Processes& processes);

}  // namespace normtweak::pipeline
