// The table of transforms: changes of a float block before it is quantized that keep what it computes.
#pragma once
#include <span>
#include <string_view>

#include "normtweak/transform/block_transform.h"

namespace normtweak::transform {

struct Transform {
  std::string_view name, description;
  std::string_view option = {};  // of the command line, which it alone reads; empty: none
  bool folds_linears = false;    // it uses folds between two linears, too
  // Null: none.
  Transformed (*apply)(const BlockToTransform& what, const BlockCalibration& calibration,
                       const TransformOptions& options) = nullptr;
};

std::span<const Transform> transforms();

// Throws Error listing them.
const Transform& find_transform(std::string_view name);

// The folds that a transform makes in a block: those with a reader that is quantized. From config.json alone.
BlockFolds planned_folds(const Transform& transform, const model::Family& family, const model::ModelConfig& config,
                         int block, const quantize::QuantizationPlan& plan);

}  // namespace normtweak::transform
