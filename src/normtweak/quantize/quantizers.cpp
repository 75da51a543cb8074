#include "normtweak/quantize/quantizers.h"

#include <array>

#include "normtweak/base/error.h"
#include "normtweak/quantize/block_descent.h"
#include "normtweak/quantize/block_search.h"
#include "normtweak/quantize/checks.h"
#include "normtweak/quantize/codebook_descent.h"
#include "normtweak/quantize/coordinate_descent.h"
#include "normtweak/quantize/float8_rounding.h"
#include "normtweak/quantize/gptq.h"
#include "normtweak/quantize/kmeans.h"
#include "normtweak/quantize/rtn.h"

namespace normtweak::quantize {
namespace {

weights::Weight rtn(const at::Tensor& weight, const InputHessian&, const LinearPlan& plan) {
  if (!plan.block_type.empty()) return quantize_blocks(weight, find_block_type(plan.block_type));
  return quantize_rtn(weight, affine_options(plan));
}

void check_present(const InputHessian& hessian, std::string_view what) {
  if (!hessian.defined()) fail("{} needs the Hessian of the linear's input; run the calibration pass first", what);
}

weights::Weight gptq(const at::Tensor& weight, const InputHessian& hessian, const LinearPlan& plan) {
  check_present(hessian, "gptq");
  const auto& factor = hessian.factor(factor_options(plan));
  const int sweeps = resolved_options(plan).sweeps;
  if (!plan.block_type.empty()) {
    const auto& type = find_block_type(plan.block_type);
    auto blocks = quantize_gptq(weight, factor, type);
    if (sweeps > 0) descend(blocks, type, weight, hessian.mean(), factor.added, sweeps);
    return blocks;
  }
  auto result = quantize_gptq(weight, factor, affine_options(plan));
  if (sweeps > 0) descend(result, weight, hessian.mean(), factor.added, sweeps);
  return result;
}

weights::Weight kmeans(const at::Tensor& weight, const InputHessian& hessian, const LinearPlan& plan) {
  const KmeansOptions options = {
      .bits = plan.bits, .group_size = plan.codebook_group, .codebook_type = plan.scale_type};
  if (!feeds_back(plan)) {
    if (plan.sensitivity) check_present(hessian, "kmeans with sensitivity");
    return quantize_kmeans(weight, plan.sensitivity ? hessian.mean().diagonal() : at::Tensor(), options);
  }
  check_present(hessian, "kmeans with feedback");
  const auto& factor = hessian.factor(factor_options(plan));
  auto result = quantize_gptq(weight, factor, options);
  const int sweeps = resolved_options(plan).sweeps;
  if (sweeps > 0) descend(result, weight, hessian.mean(), factor.added, sweeps);
  return result;
}

weights::Weight float8(const at::Tensor& weight, const InputHessian&, const LinearPlan& plan) {
  return quantize_float8(weight, plan.scale_type, find_quantizer(plan.method).one_scale);
}

constexpr std::array kQuantizers = {
    Quantizer{
        .name = "rtn", .description = "round to nearest", .uses_groups = true, .searches_grid = true, .quantize = &rtn},
    Quantizer{.name = "gptq",
              .description = "second-order rounding, arXiv 2210.17323",
              .uses_groups = true,
              .searches_grid = true,
              .feeds_back = true,
              .standard = {.search_grid = true, .act_order = true, .sweeps = 2},
              .quantize = &gptq},
    Quantizer{.name = "signround",
              .description = "rounding and ranges learned block by block, arXiv 2309.05516",
              .uses_groups = true,
              .learns_rounding = true,
              .quantize = &rtn},
    Quantizer{.name = "kmeans",
              .description = "a codebook per output channel or group, by exact k-means",
              .uses_codebooks = true,
              .standard = {.act_order = true, .sweeps = 2},
              .quantize = &kmeans},
    Quantizer{.name = "fp8",
              .description = "round to nearest in FP8 (E4M3) with a scale per output channel",
              .gives_float8 = true,
              .quantize = &float8},
    Quantizer{.name = "fp8-tensor",
              .description = "round to nearest in FP8 (E4M3) with one scale per weight",
              .gives_float8 = true,
              .one_scale = true,
              .quantize = &float8},
};

}  // namespace

std::span<const Quantizer> quantizers() { return kQuantizers; }

StandardOptions resolved_options(const LinearPlan& plan) {
  const auto& standard = find_quantizer(plan.method).standard;
  const bool affine = plan.block_type.empty();  // blocks always search; in order, they are searched with the feedback
  const bool feedback = feeds_back(plan);
  return {.search_grid = plan.search_grid.value_or(affine && standard.search_grid),
          .feedback = feedback,
          .act_order = plan.act_order.value_or(affine && feedback && standard.act_order),
          .sweeps = plan.sweeps.value_or(feedback ? standard.sweeps : 0)};
}

std::optional<weights::ActivationSettings> activation_settings(const LinearPlan& plan) {
  if (plan.activation_bits == LinearPlan::kFloatActivations) return std::nullopt;
  return weights::ActivationSettings{.bits = plan.activation_bits,
                                     .symmetric = !plan.asymmetric_activations,
                                     .floats = find_quantizer(plan.method).gives_float8,
                                     .dynamic = plan.activation_scale == "token"};
}

AffineOptions affine_options(const LinearPlan& plan) {
  return {.bits = plan.bits,
          .group_size = plan.group_size,
          .symmetric = plan.symmetric,
          .float_zeros = plan.float_zeros,
          .search_grid = resolved_options(plan).search_grid,
          .scale_type = plan.scale_type,
          .loaded_type = plan.loaded_type};
}

FactorOptions factor_options(const LinearPlan& plan) {
  return {.damping = plan.damping, .act_order = resolved_options(plan).act_order};
}

const Quantizer& find_quantizer(std::string_view method) {
  std::string known;
  for (const auto& quantizer : kQuantizers) {
    if (quantizer.name == method) return quantizer;
    known += (known.empty() ? "" : ", ") + std::string(quantizer.name);
  }
  fail("'{}' is not a quantization method; there are {}", method, known);
}

bool feeds_back(const LinearPlan& plan) {
  const auto& quantizer = find_quantizer(plan.method);
  return quantizer.feeds_back || (quantizer.uses_codebooks && plan.feedback.value_or(quantizer.standard.feedback));
}

bool needs_hessian(const LinearPlan& plan) { return feeds_back(plan) || (has_codebooks(plan) && plan.sensitivity); }

bool has_free_groups(const LinearPlan& plan) {
  return find_quantizer(plan.method).uses_groups && plan.block_type.empty();
}

bool has_free_bits(const LinearPlan& plan) { return !find_quantizer(plan.method).gives_float8; }

int code_bits(const LinearPlan& plan) {
  constexpr int kFloat8Bits = 8;
  if (!plan.block_type.empty()) return static_cast<int>(find_block_type(plan.block_type).bits());
  return has_free_bits(plan) ? plan.bits : kFloat8Bits;
}

bool has_codebooks(const LinearPlan& plan) { return find_quantizer(plan.method).uses_codebooks; }

void check_plan(const LinearPlan& plan, at::IntArrayRef shape, std::string_view linear_name) {
  try {
    if (shape.size() != 2) fail("only matrices [out, in] can be quantized");
    const auto& quantizer = find_quantizer(plan.method);
    if (!plan.block_type.empty()) {
      if (!quantizer.uses_groups || quantizer.learns_rounding) {
        fail("{} does not quantize to block types such as {}", plan.method, plan.block_type);
      }
      check_whole_blocks(shape, find_block_type(plan.block_type));
    }
    check_bits(plan.bits);
    if (has_free_groups(plan)) resolve_group_size(plan.group_size, shape[1]);
    if (has_codebooks(plan)) resolve_group_size(plan.codebook_group, shape[1], "codebook");
    const bool is_share = plan.damping >= 0 && plan.damping <= 1;  // false for NaN
    if (!is_share) fail("damping {}: use a share between 0 and 1", plan.damping);
    if (plan.sweeps.value_or(0) < 0) fail("{} sweeps: use 0 or more", *plan.sweeps);
    if (plan.signround_iterations < 1) fail("{} iterations: use 1 or more", plan.signround_iterations);
    check_scale_type(plan.scale_type);
    if (quantizer.gives_float8 && plan.activation_bits == 4)
      fail("inputs of fp8 linears are rounded to 8 bits, or not");
    if (quantizer.gives_float8 && plan.asymmetric_activations) fail("FP8 has no zero-points for asymmetric inputs");
    if (plan.block_type.empty() && plan.symmetric && plan.float_zeros) {
      fail("symmetric weights have no zero-points to be stored as floats; leave out one of the two");
    }
  } catch (const Error& error) {
    fail("{} {}: {}", linear_name, c10::str(shape), error.what());
  }
}

}  // namespace normtweak::quantize
