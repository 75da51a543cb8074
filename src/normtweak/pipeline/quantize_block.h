// Quantizes one block. Its linears are quantized in data-flow order, each for the inputs it receives with the preceding
// linears already quantized.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "normtweak/base/processes/processes.h"
#include "normtweak/pipeline/place_inputs.h"
#include "normtweak/pipeline/stream.h"
#include "normtweak/quantize/plan.h"
#include "normtweak/quantize/signround.h"

namespace normtweak::pipeline {

struct BlockStreams {
  Stream& quantized;                           // the block's input in the quantized model
  Stream* exact = nullptr;                     // the same in the float model; null: no drift correction
  const quantize::BlockTokenWeights& weights;  // token weights in the sums over the inputs
  std::int64_t first_row = 0;                  // index in the whole text of this process's first row
  bool keeps_places = false;                   // each pass goes on where the last one of its rows ended
  bool final_norms = false;                    // the result's norms and biases are those of the passes, which may go on
                                               // to the block's end
};

// Linears of experts that too few tokens reached.
struct ScarceExperts {
  std::vector<std::string> without_hessian;
  std::vector<std::string> without_range;  // of their inputs; the first linear of each place

  void add(const ScarceExperts& others);
};

// What else is known of a block that was quantized.
struct BlockFindings {
  ScarceExperts scarce;
  std::optional<quantize::SignRoundReport> rounding;  // if a linear's method learns it
  bool exact_is_through = false;  // the float model's stream is what leaves the float block; otherwise what enters it
  ReachedPlaces reached = {};     // for pass_to_end(); empty if the block is to pass from its input
};

// Returns the block with the linears that the plan names quantized, and everything else as in `exact`. passes: the
// float block in the compute dtype; exact: the same with F32 weights. All processes do the same work; rank 0's result
// is broadcast, since other hardware may round differently. Throws Error naming the linear.
model::Block quantize_block(const model::Block& passes, const model::Block& exact, const BlockStreams& streams,
                            const quantize::QuantizationPlan& plan, const Processes& processes,
                            BlockFindings& findings);

// The quantized model's stream becomes what leaves the quantized block. reached: of the findings; used up.
void pass_to_end(const model::Block& quantized, const BlockStreams& streams, ReachedPlaces reached);

}  // namespace normtweak::pipeline
