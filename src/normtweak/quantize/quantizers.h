// The table of quantizers, and the plan of a linear.
#pragma once
#include <ATen/core/Tensor.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "normtweak/quantize/grid.h"
#include "normtweak/quantize/hessian_factor.h"
#include "normtweak/weights/activation_quantizer.h"
#include "normtweak/weights/weight.h"

namespace normtweak::quantize {

// How one linear is quantized. Each linear has its own plan; see plan.h for how the command line defines them. What is
// left out follows from the method (Quantizer::standard).
struct LinearPlan {
  std::string method = "gptq";            // a row of quantizers()
  std::string block_type = {};            // a row of weights::kBlockTypes, such as Q4_K, in place of an affine grid and
                                          // what describes one (bits to scale_type); empty: an affine grid
  int bits = 4;                           // 2, 3, 4, 6 or 8
  int group_size = 128;                   // input columns per scale; 0: one scale per output channel
  bool symmetric = false;                 // zero-point fixed at 2^(bits-1)
  bool float_zeros = false;               // zero-points are floats of the scale type, not whole codes
  std::optional<bool> search_grid = {};   // shrink each group's range to minimise Σ |error|^2.4
  int codebook_group = 0;                 // k-means: input columns per codebook; 0: one codebook per output channel
  bool sensitivity = false;               // k-means without feedback: weight each column by its Hessian diagonal
  std::optional<bool> feedback = {};      // k-means: round column by column as GPTQ does (codebook_columns.h)
  std::optional<bool> act_order = {};     // feedback: columns in order of decreasing Hessian diagonal
  std::optional<int> sweeps = {};         // feedback: coordinate-descent sweeps afterwards (coordinate_descent.h)
  double damping = 0.01;                  // feedback: added to the Hessian's diagonal, as a share of its mean
  int signround_iterations = 200;         // SignRound: steps of each block (signround.h)
  double signround_rate = 0;              // SignRound: step of offsets and range shares; 0: 1 / iterations
  at::ScalarType scale_type = at::kHalf;  // what scales and codebooks are stored in
  at::ScalarType loaded_type = at::kFloat;  // dtype of the model: what readers load the scales of affine grids in
  static constexpr int kFloatActivations = 16;
  int activation_bits = kFloatActivations;  // 4 or 8: of the codes that the input is rounded to; 16: it is not. With
                                            // FP8 weights 8 stands for FP8
  std::string activation_scale = "token";   // "token": each has its own range; "tensor": one for all, observed
  bool asymmetric_activations = false;      // they have a zero-point

  bool operator==(const LinearPlan&) const = default;
};

// What a plan that leaves an option out gets.
struct StandardOptions {
  bool search_grid = false, feedback = false;
  bool act_order = false;  // of linears with feedback
  int sweeps = 0;          // of linears with feedback
};

struct Quantizer {
  std::string_view name, description;
  bool uses_groups = false;      // plan.group_size applies, and must divide the input columns; so does block_type
  bool searches_grid = false;    // plan.search_grid applies
  bool uses_codebooks = false;   // plan.codebook_group, plan.sensitivity and plan.feedback apply
  bool feeds_back = false;       // whatever plan.feedback says; see feeds_back() below
  bool gives_float8 = false;     // FP8 values: no bits, groups or zero-points to choose, and inputs are rounded to FP8
  bool learns_rounding = false;  // its result is the start of signround.h, which trains the block
  bool one_scale = false;        // of FP8 values: for the whole weight, not for each output channel
  StandardOptions standard = {};
  // weight: f32 [out, in]; hessian: of its input, on the same device, or empty. Throws Error, without the linear's
  // name, for what check_plan() cannot check: non-finite values, a scale that overflows its dtype. For linears that
  // read the same input, pass the same InputHessian, which is factored once.
  weights::Weight (*quantize)(const at::Tensor& weight, const InputHessian& hessian, const LinearPlan& plan);
};

std::span<const Quantizer> quantizers();

// Throws Error listing the methods.
const Quantizer& find_quantizer(std::string_view method);

// Whether the errors of columns are fed back to those after them (GPTQ; k-means with feedback): act-order, sweeps and
// damping apply, and drift.h's correction does beforehand, since the weight is rounded for its drifted inputs.
bool feeds_back(const LinearPlan& plan);

// Whether this plan uses the Hessian (feedback; k-means with sensitivity).
bool needs_hessian(const LinearPlan& plan);

// The options of this plan, with those of its method where it leaves one out.
StandardOptions resolved_options(const LinearPlan& plan);

// How the input of the linear is rounded; nullopt: not at all.
std::optional<weights::ActivationSettings> activation_settings(const LinearPlan& plan);

// What the affine quantizers read of this plan.
AffineOptions affine_options(const LinearPlan& plan);

// How the Hessian is prepared for this plan.
FactorOptions factor_options(const LinearPlan& plan);

// Whether the plan has groups whose size is free: group_size then applies.
bool has_free_groups(const LinearPlan& plan);

// Whether it gives codebooks: codebook_group and feedback then apply.
bool has_codebooks(const LinearPlan& plan);

// Whether it gives integer codes or codebooks: bits applies.
bool has_free_bits(const LinearPlan& plan);

// Bits of a code, rounded down.
int code_bits(const LinearPlan& plan);

// Throws Error naming the linear, its shape, and what to change if bits, group size or blocks do not fit.
void check_plan(const LinearPlan& plan, at::IntArrayRef shape, std::string_view linear_name);

}  // namespace normtweak::quantize
