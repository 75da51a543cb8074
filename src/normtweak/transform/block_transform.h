// A transform of one block: what it is given, what it may ask of the calibration text, and what comes of it.
#pragma once
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "normtweak/quantize/plan.h"
#include "normtweak/transform/folds_of.h"
#include "normtweak/transform/input_statistics.h"

namespace normtweak::transform {

struct TransformOptions {
  std::string name = "none";          // a row of transforms()
  std::optional<double> alpha = 0.5;  // smoothquant: how much of the outliers moves; nullopt: searched for each block
  bool clip = true;                   // awq: search the range of each group as well
};

// What calibration says about a block, when it is asked: each call runs the text through the block.
struct BlockCalibration {
  using Inputs = std::map<model::Place, InputStatistics>;
  // At the places of a kind that tokens reached, of the float block on the quantized stream.
  std::function<Inputs(model::PlaceKind, bool with_hessian)> inputs;
  // The squared error of the output of a block in the place of the float one, on some of the text.
  std::function<double(const model::Block&)> output_error;
};

// What was done to a block.
struct FoldReport {
  std::string from;             // the module that was divided
  std::vector<std::string> to;  // those whose columns were multiplied
  double alpha = 0;
};
struct BlockReport {
  std::vector<FoldReport> folds;
  std::int64_t clipped = 0;  // linears whose ranges were searched
};

struct Transformed {
  model::Block folded;  // computes what the float block does
  model::Block target;  // the same with the groups of weights clipped: what is to be quantized
  BlockReport report;
};

// A float block in F32, and what it takes to transform it.
struct BlockToTransform {
  const model::Block& block;
  const model::ModelConfig& config;
  const std::vector<Fold>& folds;  // those that the transform uses
  const quantize::QuantizationPlan& plan;
  at::ScalarType stored = at::kFloat;  // dtype of norms in the file
};

// The plan of a linear; nullopt: it stays float.
std::optional<quantize::LinearPlan> plan_of(const model::BlockLinear& part, const quantize::QuantizationPlan& plan);

// The values of a linear that is not quantized yet, [out, in].
const at::Tensor& values_of(const model::BlockLinear& part);

}  // namespace normtweak::transform
