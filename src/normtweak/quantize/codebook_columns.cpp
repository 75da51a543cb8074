#include "normtweak/quantize/codebook_columns.h"

#include <ATen/ops/zeros.h>

#include "normtweak/quantize/checks.h"
#include "normtweak/quantize/codebook_fit.h"
#include "normtweak/weights/codebook_groups.h"

namespace normtweak::quantize {
namespace {

KmeansOptions options_of(const weights::CodebookWeight& weight) {
  return {
      .bits = weight.bits, .group_size = weights::codebook_group_size(weight), .codebook_type = weight.codebook_type};
}

}  // namespace

CodebookColumns::CodebookColumns(const at::Tensor& weight, const KmeansOptions& options)
    : options_(options), group_size_(resolve_group_size(options.group_size, weight.size(0))) {
  entries =
      at::zeros({weight.size(0) / group_size_, std::int64_t{1} << options.bits, weight.size(1)}, weight.options());
}

CodebookColumns::CodebookColumns(const weights::CodebookWeight& weight)
    : options_(options_of(weight)), group_size_(resolve_group_size(options_.group_size, weight.codes.size(1))) {
  const auto columns = padded_columns(weight.codebook);
  entries = columns.view({-1, std::int64_t{1} << weight.bits, columns.size(1)});
}

void CodebookColumns::fit(std::int64_t first, const at::Tensor& values, const at::Tensor& importance) {
  const auto rows = values.view({-1, group_size_, values.size(1)}).transpose(1, 2);  // [groups, out, columns]
  const auto found = fit_codebooks(rows, importance.view({-1, group_size_}), options_);
  entries.narrow(0, first / group_size_, found.size(0)).copy_(found.transpose(1, 2));
}

ColumnGrids CodebookColumns::grids(std::int64_t first, std::int64_t last) const {
  return {.codebooks = entries.slice(0, first / group_size_, (last - 1) / group_size_ + 1),
          .grid_of = grid_of_columns(first, last, group_size_, entries.device())};
}

weights::CodebookWeight CodebookColumns::weight_of(const at::Tensor& steps, std::int64_t out) const {
  return {.codes = steps.t().slice(0, 0, out).to(at::kByte).contiguous(),
          .codebook = codebooks_by_channel(entries.slice(2, 0, out).transpose(1, 2)),
          .bits = options_.bits,
          .codebook_type = options_.codebook_type};
}

}  // namespace normtweak::quantize
