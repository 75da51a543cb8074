#include "normtweak/quantize/gptq_on_codebooks.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include <vector>

#include "normtweak/quantize/checks.h"
#include "normtweak/quantize/codebook_columns.h"
#include "normtweak/quantize/codebook_fit.h"
#include "normtweak/quantize/product_precision.h"

namespace normtweak::quantize {
namespace {

CodebookGptqResult joined(const std::vector<CodebookGptqResult>& results) {
  std::vector<at::Tensor> codes, codebooks;
  auto whole = results.front();
  whole.layer_error = 0;
  for (const auto& [weight, error] : results) {
    codes.push_back(weight.codes);
    codebooks.push_back(weight.codebook);
    whole.layer_error += error;
  }
  whole.weight.codes = at::cat(codes);
  whole.weight.codebook = at::cat(codebooks);
  return whole;
}

}  // namespace

CodebookGptqResult quantize_gptq(const at::Tensor& weight, const HessianFactor& factor, const KmeansOptions& options) {
  const at::NoGradGuard no_grad;
  const RoundingProducts precision;
  check_gptq(weight, factor);
  check_bits(options.bits);
  check_scale_type(options.codebook_type);
  auto result = joined(for_channels(weight, [&](const at::Tensor& slice) {
    const auto columns = padded_columns(slice);
    CodebookColumns grid(columns, options);
    const auto [steps, loss] = run_gptq(columns, factor, grid);
    return CodebookGptqResult{.weight = grid.weight_of(steps, slice.size(0)), .layer_error = loss};
  }));
  check_codebooks(result.weight.codebook, options.codebook_type);
  return result;
}

}  // namespace normtweak::quantize
