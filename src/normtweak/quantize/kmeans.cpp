#include "normtweak/quantize/kmeans.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>

#include <algorithm>

#include "normtweak/base/error.h"
#include "normtweak/quantize/checks.h"
#include "normtweak/quantize/codebook_fit.h"

namespace normtweak::quantize {
namespace {

at::Tensor column_weights(const at::Tensor& sensitivity, std::int64_t in) {
  if (!sensitivity.defined()) return at::ones({in});
  if (sensitivity.dim() != 1 || sensitivity.size(0) != in) {
    fail("sensitivity must have one value for each of the {} input columns; found {}", in,
         c10::str(sensitivity.sizes()));
  }
  check_finite(sensitivity, "the sensitivity");
  if (sensitivity.min().item<double>() < 0) fail("a sensitivity is negative; the diagonal of a Hessian never is");
  return sensitivity.to(at::kCPU, at::kFloat).contiguous();
}

// rows: f32 [sets, channels, columns]; codebooks: f32 [sets, channels, entries]. The nearest entry for each weight;
// ties go to the lower entry, and to the first of equal ones.
at::Tensor nearest_entries(const at::Tensor& rows, const at::Tensor& codebooks) {
  const auto columns = rows.size(2), borders = codebooks.size(2) - 1;
  const auto middles = ((codebooks.slice(2, 0, borders) + codebooks.slice(2, 1)) * 0.5).contiguous();
  auto codes = at::empty(rows.sizes(), at::kByte);
  const auto* value = rows.const_data_ptr<float>();
  const auto* middle = middles.const_data_ptr<float>();
  auto* results = codes.mutable_data_ptr<std::uint8_t>();
  at::parallel_for(0, rows.size(0) * rows.size(1), 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto row = begin; row < end; ++row) {
      const auto* first = middle + row * borders;
      std::transform(value + row * columns, value + (row + 1) * columns, results + row * columns, [&](float wanted) {
        return static_cast<std::uint8_t>(std::lower_bound(first, first + borders, wanted) - first);
      });
    }
  });
  return codes;
}

}  // namespace

weights::CodebookWeight quantize_kmeans(const at::Tensor& weight, const at::Tensor& sensitivity,
                                        const KmeansOptions& options) {
  check_weight(weight);
  check_bits(options.bits);
  check_scale_type(options.codebook_type);
  const auto out = weight.size(0), in = weight.size(1), columns = resolve_group_size(options.group_size, in);
  const auto rows = weight.cpu().view({out, -1, columns}).transpose(0, 1).contiguous();  // [groups, out, columns]
  const auto codebooks = fit_codebooks(rows, column_weights(sensitivity, in).view({-1, columns}), options);
  check_codebooks(codebooks, options.codebook_type);
  const auto codes = nearest_entries(rows, codebooks).transpose(0, 1).reshape({out, in});
  return {.codes = codes.to(weight.device()),
          .codebook = codebooks_by_channel(codebooks).to(weight.device()),
          .bits = options.bits,
          .codebook_type = options.codebook_type};
}

}  // namespace normtweak::quantize
