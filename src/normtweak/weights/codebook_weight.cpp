#include "normtweak/weights/codebook_weight.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/zeros.h>

#include "normtweak/base/error.h"
#include "normtweak/weights/codebook_groups.h"

namespace normtweak::weights {
namespace {

// i64 [out, in]: where in its channel's codebooks each code stands.
at::Tensor places_of(const CodebookWeight& weight) {
  auto places = weight.codes.to(at::kLong, /*non_blocking=*/false, /*copy=*/true, at::MemoryFormat::Contiguous);
  const auto size = codebook_group_size(weight);
  if (size == 0) return places;
  const auto groups = places.size(1) / size;
  const auto starts = at::arange(groups, places.options()).mul_(std::int64_t{1} << weight.bits);
  places.view({-1, groups, size}).add_(starts.unsqueeze(1));
  return places;
}

}  // namespace

int codebook_group_size(const CodebookWeight& weight) {
  const auto out = weight.codes.size(0), in = weight.codes.size(1), entries = std::int64_t{1} << weight.bits;
  const auto& codebook = weight.codebook;
  const bool has_rows = codebook.dim() == 2 && codebook.size(0) == out;
  const auto groups = has_rows && codebook.size(1) % entries == 0 ? codebook.size(1) / entries : 0;
  if (groups == 0 || in % groups != 0) {
    fail(
        "codebook must be [{}, {}], or have a multiple of these columns for groups of the {} input columns, at {} "
        "bits; "
        "found {}",
        out, entries, in, weight.bits, c10::str(codebook.sizes()));
  }
  return groups == 1 ? 0 : static_cast<int>(in / groups);
}

at::Tensor dequantize(const CodebookWeight& weight, at::ScalarType type) {
  const c10::NoGradGuard no_gradients;
  return weight.codebook.to(type).gather(1, places_of(weight));
}

at::Tensor reduce_to_codebook(const at::Tensor& gradient, const CodebookWeight& weight) {
  auto sums = at::zeros(weight.codebook.sizes(), weight.codebook.options());
  sums.scatter_add_(1, places_of(weight), gradient.to(at::kFloat));
  return sums;
}

double bits_per_weight(const CodebookWeight& weight) {
  const double table_bits =
      8.0 * static_cast<double>(c10::elementSize(weight.codebook_type)) * static_cast<double>(weight.codebook.size(1));
  return weight.bits + table_bits / static_cast<double>(weight.codes.size(1));
}

}  // namespace normtweak::weights
