// How the inputs of a block's linears are to be rounded: by what their plans say, and in the ranges that are observed.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "normtweak/pipeline/quantize_block.h"
#include "normtweak/weights/activation_quantizer.h"

namespace normtweak::pipeline {

using InputQuantizers = std::map<model::Place, weights::ActivationQuantizer>;

// Of the places of a kind where linears round their input. Static ranges are those of all tokens of the quantized
// stream, 0 included; they take a pass of `so_far`, the block with the linears before these places quantized. An expert
// that no token reaches gets the range of all experts at places of this kind. without_range: gets the names of such
// experts' linears. Throws Error naming a linear if its scale does not fit its dtype.
InputQuantizers input_quantizers(model::PlaceKind kind, const model::Block& so_far, const BlockStreams& streams,
                                 const quantize::QuantizationPlan& plan, const Processes& processes,
                                 std::vector<std::string>& without_range);

}  // namespace normtweak::pipeline
