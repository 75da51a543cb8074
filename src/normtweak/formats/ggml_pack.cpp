#include "normtweak/formats/ggml_pack.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <cstring>

#include "normtweak/base/device/finite.h"
#include "normtweak/base/error.h"

namespace normtweak::formats {
namespace {

constexpr std::int64_t kWeightsPerTask = 16384;

at::Tensor on_cpu(const at::Tensor& tensor) { return tensor.defined() ? tensor.detach().cpu().contiguous() : tensor; }

// f16, as stored.
at::Tensor halves_of(const at::Tensor& floats, std::string_view what) {
  if (!floats.defined()) return floats;
  const auto halves = on_cpu(floats).to(at::kHalf);
  if (!all_finite(halves)) fail("a {} does not fit into float16", what);
  return halves;
}

void check_shape(const at::Tensor& found, std::int64_t rows, std::int64_t columns, bool wanted, std::string_view what,
                 std::string_view type) {
  if (found.defined() != wanted) fail("{} {} {}", type, wanted ? "needs" : "has no", what);
  if (wanted && found.sizes() != at::IntArrayRef({rows, columns})) {
    fail("{}: {} of shape {} where {} rows of {} are needed", type, what, c10::str(found.sizes()), rows, columns);
  }
}

void check_shapes(const weights::BlockWeight& weight, const weights::BlockType& type) {
  if (weight.codes.dim() != 2 || weight.codes.size(1) % type.block_size != 0) {
    fail("{}: codes of shape {} are not rows of whole blocks of {} columns", type.name, c10::str(weight.codes.sizes()),
         type.block_size);
  }
  const auto rows = weight.codes.size(0), columns = weight.codes.size(1);
  const auto blocks = columns / type.block_size, subs = columns / type.sub_size;
  const bool nested = type.has_sub_blocks();
  check_shape(weight.scales, rows, blocks, true, "scales", type.name);
  check_shape(weight.minima, rows, blocks, type.has_minimum, "minima", type.name);
  check_shape(weight.sub_scales, rows, subs, nested, "scales of sub-blocks", type.name);
  check_shape(weight.sub_minima, rows, subs, nested && type.has_minimum, "minima of sub-blocks", type.name);
}

// offset: what is subtracted from a stored integer.
template <class Stored>
void check_integers(const at::Tensor& integers, int offset, const weights::IntegerRange& range,
                    std::span<const std::int8_t> curve, std::string_view what, std::string_view type) {
  if (!integers.defined()) return;
  const std::span all(integers.const_data_ptr<Stored>(), static_cast<std::size_t>(integers.numel()));
  const auto fits = [&](Stored stored) {
    const int value = static_cast<int>(stored) - offset;
    return range.contains(value) && (curve.empty() || std::ranges::binary_search(curve, value));
  };
  const auto bad = std::ranges::find_if_not(all, fits);
  if (bad == all.end()) return;
  const auto place = bad - all.begin();
  fail("{} {} at row {}, column {}: {} has {}", what, static_cast<int>(*bad) - offset, place / integers.size(1),
       place % integers.size(1), type,
       curve.empty() ? fmt::format("those from {} to {}", range.lowest, range.highest)
                     : fmt::format("the {} of its table", curve.size()));
}

// Throws Error unless it fits the type.
void check_weight(const weights::BlockWeight& weight, const weights::BlockType& type) {
  check_shapes(weight, type);
  check_integers<std::uint8_t>(weight.codes, 128, type.codes, type.curve, "code", type.name);
  check_integers<std::int8_t>(weight.sub_scales, 0, type.sub_scales, {}, "scale of a sub-block", type.name);
  check_integers<std::int8_t>(weight.sub_minima, 0, type.sub_minima, {}, "minimum of a sub-block", type.name);
}

}  // namespace

std::vector<std::byte> pack_blocks(const weights::BlockWeight& weight, const GgmlType& type) {
  if (!type.layout || type.layout->pack == nullptr) fail("no weight is quantized to type {}", type.name);
  const auto& layout = *type.layout;
  auto host = weight;
  for (auto* part : {&host.codes, &host.sub_scales, &host.sub_minima}) *part = on_cpu(*part);
  check_weight(host, *layout.integers);
  const auto scales = halves_of(weight.scales, "scale"), minima = halves_of(weight.minima, "minimum");
  const auto* codes = host.codes.const_data_ptr<std::uint8_t>();
  const auto pointer = []<class Number>(const at::Tensor& all, const Number*) {
    return all.defined() ? all.const_data_ptr<Number>() : nullptr;
  };
  const auto* sub_scales = pointer(host.sub_scales, static_cast<const std::int8_t*>(nullptr));
  const auto* sub_minima = pointer(host.sub_minima, static_cast<const std::int8_t*>(nullptr));
  const auto* scale = scales.const_data_ptr<c10::Half>();
  const auto* minimum = pointer(minima, static_cast<const c10::Half*>(nullptr));

  const auto count = scales.numel(), size = type.block_size, subs = size / layout.sub_size;
  std::vector<std::byte> bytes(static_cast<std::size_t>(count * type.block_bytes));
  at::parallel_for(0, count, kWeightsPerTask / size, [&](std::int64_t begin, std::int64_t end) {
    BlockNumbers numbers = {};
    for (auto i = begin; i < end; ++i) {
      auto* block = bytes.data() + i * type.block_bytes;
      for (std::int64_t j = 0; j < size; ++j) {
        numbers.codes[static_cast<std::size_t>(j)] = static_cast<std::int8_t>(codes[i * size + j] - 128);
      }
      if (sub_scales != nullptr) std::copy_n(sub_scales + i * subs, subs, numbers.scales.begin());
      if (sub_minima != nullptr) std::copy_n(sub_minima + i * subs, subs, numbers.minima.begin());
      layout.pack(numbers, block);
      std::memcpy(block + layout.scale_at, scale + i, sizeof *scale);
      if (minimum != nullptr) std::memcpy(block + layout.minimum_at, minimum + i, sizeof *minimum);
    }
  });
  return bytes;
}

}  // namespace normtweak::formats
