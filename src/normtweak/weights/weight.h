// The weight of a linear: float, affine codes, codebook, blocks or scaled codes.
#pragma once
#include <functional>
#include <string_view>
#include <variant>
#include <vector>

#include "normtweak/weights/affine_weight.h"
#include "normtweak/weights/block_weight.h"
#include "normtweak/weights/codebook_weight.h"
#include "normtweak/weights/scaled_weight.h"

namespace normtweak::weights {

struct FloatWeight {
  at::Tensor values;  // [out, in], in the compute dtype
};

using Weight = std::variant<FloatWeight, AffineWeight, CodebookWeight, BlockWeight, ScaledWeight>;

// [out, in] in `type`; a float weight that already has that dtype is returned without a copy.
at::Tensor dequantize(const Weight& weight, at::ScalarType type = at::kFloat);

// [out, in], whatever the kind.
at::IntArrayRef shape(const Weight& weight);

// Stored bits per weight, scales, zero-points and codebooks included.
double bits_per_weight(const Weight& weight);

bool is_quantized(const Weight& weight);

// What kind of weight it is, for reports.
struct WeightKind {
  std::string_view name;  // "float", "affine", "codebook", or the type's name in its format, such as Q4_K
  int bits = 0;           // of a code, rounded down
  int group_size = 0;     // input columns that share a scale; 0: the whole row, or that does not apply
};
WeightKind describe(const Weight& weight);

// A float tensor beside the codes of a quantized weight, which may be tuned.
struct CodeFloats {
  enum class Kind { scales, zeros, codebook };
  Kind kind;
  std::string_view name;         // "scales", "minima", ...
  at::Tensor* values;            // f32, a field of the weight
  at::ScalarType stored_type;    // dtype in the file
  bool converts_on_load = true;  // whether readers convert them to the dtype of the model
};

// Those of a weight, at most two; none of a float one. Whole zero-points are codes.
std::vector<CodeFloats> code_floats(Weight& weight);

// Gradients of code_floats(), in their order, from the gradient of the dequantized weight ([out, in], f32 or bf16).
// wanted: which of them are needed; the others are undefined. dequantized: the result of dequantize_for_gradients() in
// the gradient's dtype, if the caller has it.
std::vector<at::Tensor> code_float_gradients(const Weight& weight, const at::Tensor& gradient,
                                             const std::vector<bool>& wanted, const at::Tensor& dequantized);

// dequantize() for a backward pass that also asks for the gradients above.
at::Tensor dequantize_for_gradients(const Weight& weight, at::ScalarType type);

// All its tensors, in a fixed order for each kind of weight.
std::vector<at::Tensor> tensors(const Weight& weight);

// The same weight with `change` applied to each of its tensors.
Weight map_tensors(const Weight& weight, const std::function<at::Tensor(const at::Tensor&)>& change);

// The same weight with `change` applied to its codes, if they are plain numbers of `bits` bits (affine codes, and those
// into a codebook); others are left as they are.
Weight map_codes(const Weight& weight, const std::function<at::Tensor(const at::Tensor& codes, int bits)>& change);

// The same weight with all its tensors on `device`.
Weight to_device(const Weight& weight, c10::Device device);

}  // namespace normtweak::weights
