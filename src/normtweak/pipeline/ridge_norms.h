// Closed-form tweaks of the norms of one block, or of the final norm, on the streams that reach them.
#pragma once
#include <vector>

#include "normtweak/base/processes.h"
#include "normtweak/pipeline/stream.h"
#include "normtweak/tweak/ridge.h"

namespace normtweak::pipeline {

// Inputs and outputs of the solver.
struct RidgeRun {
  const tweak::RidgeOptions& options;
  const Stream& stream;                      // of the quantized model
  const Stream* float_stream;                // of the float model; null: the targets are on the quantized stream
  const at::Tensor& mask;                    // bool [samples, tokens], or undefined
  at::ScalarType stored;                     // dtype in which norms are stored
  const Processes& processes;                // share the rows of the streams
  std::vector<tweak::RidgeReport>& reports;  // one entry is appended per norm
};

// `block` with attention_norm solved first, then mlp_norm on the stream that results.
// floats: the same block of the float model, with F32 weights.
model::Block ridge_block(const model::Block& block, const model::Block& floats, const RidgeRun& run);

// The norm after the last block; needs the float stream. head, float_head: the linears that read it.
model::Norm ridge_final_norm(const model::Norm& norm, const model::Norm& float_norm, const model::Linear& head,
                             const model::Linear& float_head, const RidgeRun& run);

}  // namespace normtweak::pipeline
