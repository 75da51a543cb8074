// The table of quantizers, and the plan of a linear.
#pragma once
#include <ATen/core/Tensor.h>

#include <span>
#include <string>
#include <string_view>

#include "normtweak/quantize/hessian_factor.h"
#include "normtweak/weights/weight.h"

namespace normtweak::quantize {

// How one linear is quantized. Each linear has its own plan; see plan.h for how the command line defines them.
struct LinearPlan {
  std::string method = "gptq";            // a row of quantizers()
  int bits = 4;                           // 2, 3, 4, 6 or 8
  int group_size = 128;                   // input columns per scale; 0: one scale per output channel
  bool symmetric = false;                 // zero-point fixed at 2^(bits-1)
  bool float_zeros = false;               // zero-points are floats of the scale type, not whole codes
  bool search_grid = false;               // shrink each group's range to minimise Σ |error|^2.4
  bool act_order = false;                 // GPTQ: columns in order of decreasing Hessian diagonal
  bool sensitivity = false;               // k-means: weight each column by its Hessian diagonal
  int sweeps = 0;                         // GPTQ: coordinate-descent sweeps afterwards (coordinate_descent.h)
  double damping = 0.01;                  // GPTQ: added to the Hessian's diagonal, as a share of its mean
  at::ScalarType scale_type = at::kHalf;  // what scales and codebooks are stored in
};

struct Quantizer {
  std::string_view name, description;
  bool needs_hessian = false;     // regardless of the plan's options; see needs_hessian() below
  bool uses_groups = false;       // plan.group_size applies, and must divide the input columns
  bool uses_sensitivity = false;  // plan.sensitivity applies, and needs the Hessian
  // weight: f32 [out, in]; hessian: of its input, on the same device, or empty. Throws Error, without the linear's
  // name, for what check_plan() cannot check: non-finite values, a scale that overflows its dtype. For linears that
  // read the same input, pass the same InputHessian, which is factored once.
  weights::Weight (*quantize)(const at::Tensor& weight, const InputHessian& hessian, const LinearPlan& plan);
};

std::span<const Quantizer> quantizers();

// Throws Error listing the methods.
const Quantizer& find_quantizer(std::string_view method);

// Whether this plan uses the Hessian (GPTQ; k-means with sensitivity).
bool needs_hessian(const LinearPlan& plan);

// How the Hessian is prepared for this plan.
FactorOptions factor_options(const LinearPlan& plan);

// Throws Error naming the linear, its shape, and what to change if bits or group size do not fit.
void check_plan(const LinearPlan& plan, at::IntArrayRef shape, std::string_view linear_name);

}  // namespace normtweak::quantize
