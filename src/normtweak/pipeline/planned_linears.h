// The linears of a model with what the plan makes of each, before anything is loaded: the one place that derives sizes
// from a plan.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "normtweak/formats/linears/quantized_linears.h"
#include "normtweak/model/checkpoint.h"
#include "normtweak/model/decoder.h"
#include "normtweak/quantize/plan.h"
#include "normtweak/tweak/code_positions.h"

namespace normtweak::pipeline {

struct PlannedLinear {
  model::LinearShape shape;
  int block = 0;
  std::optional<quantize::LinearPlan> plan;  // nullopt: stays float
};

// Of all blocks, in the order in which they are used. Reads only the config.
std::vector<PlannedLinear> planned_linears(const quantize::QuantizationPlan& plan, const model::Checkpoint& checkpoint);

// How many linears have which settings, in the order in which these come first.
std::vector<quantize::PlanShare> plan_shares(const std::vector<PlannedLinear>& linears);

// The plan that speaks for the whole model: the standard one if any linear has it, and otherwise that of most linears.
quantize::LinearPlan main_plan(const quantize::LinearPlan& standard, const std::vector<quantize::PlanShare>& shares);

// The quantized weight with the shapes and types that it will have, and no data (tensors of the meta device).
weights::Weight outline(const model::LinearShape& shape, const quantize::LinearPlan& plan);

// The linear with that weight, as it will be written.
formats::QuantizedModule outlined_module(const model::LinearShape& shape, const quantize::LinearPlan& plan);

// The weight that a checkpoint which keeps its codes has for this linear, without data; nullopt if it is float. Reads
// only headers.
std::optional<weights::Weight> coded_outline(const model::Checkpoint& checkpoint, const model::LinearShape& shape);

// Whether any linear needs the Hessian of its input.
bool wants_hessians(const std::vector<PlannedLinear>& linears);

// Whether drift correction applies to any linear.
bool wants_drift(const std::vector<PlannedLinear>& linears);

// Whether any linear is refined by coordinate descent.
bool wants_sweeps(const std::vector<PlannedLinear>& linears);

// Whether any linear's rounding is learned block by block.
bool wants_learned_rounding(const std::vector<PlannedLinear>& linears);

// Of all linears, whether quantized or not.
std::int64_t linear_weights(const std::vector<PlannedLinear>& linears);

// The linears whose codes are learned with these options, with their number of weights, among all that are
// quantized.
struct LearnedCodes {
  std::int64_t linears = 0, weights = 0, quantized = 0;
};
LearnedCodes learned_codes(const std::vector<PlannedLinear>& linears, const tweak::CodeOptions& options);

// Blocks take at most this share of free host memory, since it is pinned and sizes may be rounded up.
constexpr double kHostShare = 0.6;

// Bytes per weight in memory, of all blocks and of the largest one.
struct QuantizedSize {
  double mean = 1.25, largest = 1.25;  // a byte for the code, and its share of scale and zero
  double on_host = 1.25;  // the mean in host memory, from where blocks are streamed: codes are packed there

  bool operator==(const QuantizedSize&) const = default;
};

// Of linears quantized as planned; those that stay float are F32.
QuantizedSize size_in_memory(const std::vector<PlannedLinear>& linears);

// Of a checkpoint, as loaded with compute dtype `type`. Reads only headers.
QuantizedSize size_in_memory(const model::Checkpoint& checkpoint, at::ScalarType type);

// Bytes in memory of a head that is stored packed, besides its dequantized copy; 0 if it is float. Reads only headers.
std::int64_t packed_head_bytes(const model::Checkpoint& checkpoint);

}  // namespace normtweak::pipeline
