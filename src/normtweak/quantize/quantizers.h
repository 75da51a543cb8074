// The table of quantizers, and what each linear is to become.
#pragma once
#include <ATen/core/Tensor.h>

#include <span>
#include <string>
#include <string_view>

#include "normtweak/quantize/hessian_factor.h"
#include "normtweak/weights/weight.h"

namespace normtweak::quantize {

// What one linear is to become. Each linear has its own; see plan.h for how the command line makes them.
struct LinearPlan {
  std::string method = "gptq";            // a row of quantizers()
  int bits = 4;                           // 2, 3, 4, 6 or 8
  int group_size = 128;                   // input columns per scale; 0: one scale per output channel
  bool symmetric = false;                 // zero-point fixed at 2^(bits-1)
  bool float_zeros = false;               // zero-points are floats of the scale type, not whole codes
  bool search_grid = false;               // shrink each group's range to the least |error|^2.4
  bool act_order = false;                 // GPTQ: columns in the order of falling Hessian diagonal
  bool sensitivity = false;               // k-means: weight each column by its Hessian diagonal
  int sweeps = 0;                         // GPTQ: of coordinate_descent.h after it
  double damping = 0.01;                  // GPTQ: added to the Hessian's diagonal, as a share of its mean
  at::ScalarType scale_type = at::kHalf;  // what scales and codebooks are stored in
};

struct Quantizer {
  std::string_view name, description;
  bool needs_hessian = false;     // always, whatever the plan's options; see needs_hessian() below
  bool uses_groups = false;       // plan.group_size matters, and has to divide the input columns
  bool uses_sensitivity = false;  // plan.sensitivity matters, and takes the Hessian
  // weight: f32 [out, in]; hessian: of its input, on the same device, or empty. Throws Error, without the linear's
  // name, for what check_plan() cannot foresee: values that are not finite, a scale that does not fit its type. For
  // linears that read the same input pass the same InputHessian: it is factored once.
  weights::Weight (*quantize)(const at::Tensor& weight, const InputHessian& hessian, const LinearPlan& plan);
};

std::span<const Quantizer> quantizers();

// Throws Error listing the methods there are.
const Quantizer& find_quantizer(std::string_view method);

// Whether this plan uses the Hessian (GPTQ; k-means with sensitivity).
bool needs_hessian(const LinearPlan& plan);

// How the Hessian is prepared for this plan.
FactorOptions factor_options(const LinearPlan& plan);

// Throws Error naming the linear, its shape, and what to change if bits or group size do not fit.
void check_plan(const LinearPlan& plan, at::IntArrayRef shape, std::string_view linear_name);

}  // namespace normtweak::quantize
