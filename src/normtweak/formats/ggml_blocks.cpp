#include "normtweak/formats/ggml_blocks.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <cstring>

#include "normtweak/base/error.h"
#include "normtweak/formats/ggml_block_floats.h"
#include "normtweak/formats/tensor_bytes.h"

namespace normtweak::formats {
namespace {

constexpr GgmlType plain(std::uint32_t id, std::string_view name, at::ScalarType type, std::int64_t bytes) {
  return {id, name, 1, bytes, type};
}

constexpr GgmlType blocks(std::uint32_t id, std::string_view name, std::int64_t size, std::int64_t bytes,
                          const BlockLayout& layout) {
  return {id, name, size, bytes, at::kFloat, layout};
}

// Of weights::kBlockTypes; minimum_at: where the types with a minimum have it.
constexpr GgmlType blocks(std::uint32_t id, std::string_view name, BlockUnpacker* unpack, BlockPacker* pack,
                          std::int64_t scale_at, std::int64_t minimum_at = -1) {
  const auto& type = *weights::find_block_type(name);
  return blocks(id, type.name, type.block_size, type.block_bytes,
                {.unpack = unpack,
                 .sub_size = type.sub_size,
                 .scale_at = scale_at,
                 .minimum_at = minimum_at,
                 .pack = pack,
                 .integers = &type});
}

constexpr GgmlType unreadable(std::uint32_t id, std::string_view name, std::int64_t size, std::int64_t bytes) {
  return {id, name, size, bytes, std::nullopt};
}

constexpr GgmlType kTypes[] = {
    plain(0, "F32", at::kFloat, 4),
    plain(1, "F16", at::kHalf, 2),
    plain(30, "BF16", at::kBFloat16, 2),
    plain(28, "F64", at::kDouble, 8),
    plain(24, "I8", at::kChar, 1),
    plain(25, "I16", at::kShort, 2),
    plain(26, "I32", at::kInt, 4),
    plain(27, "I64", at::kLong, 8),
    blocks(2, "Q4_0", &unpack_q4_0, &pack_q4_0, 0),
    blocks(3, "Q4_1", &unpack_q4_1, &pack_q4_1, 0, 2),
    blocks(6, "Q5_0", &unpack_q5_0, &pack_q5_0, 0),
    blocks(7, "Q5_1", &unpack_q5_1, &pack_q5_1, 0, 2),
    blocks(8, "Q8_0", &unpack_q8_0, &pack_q8_0, 0),
    blocks(10, "Q2_K", &unpack_q2_k, &pack_q2_k, 80, 82),
    blocks(11, "Q3_K", &unpack_q3_k, &pack_q3_k, 108),
    blocks(12, "Q4_K", &unpack_q4_k, &pack_q4_k, 0, 2),
    blocks(13, "Q5_K", &unpack_q5_k, &pack_q5_k, 0, 2),
    blocks(14, "Q6_K", &unpack_q6_k, &pack_q6_k, 208),
    blocks(20, "IQ4_NL", &unpack_iq4_nl, &pack_iq4_nl, 0),
    blocks(23, "IQ4_XS", &unpack_iq4_xs, &pack_iq4_xs, 0),
    blocks(16, "IQ2_XXS", 256, 66, {.unpack = &unpack_iq2_xxs, .sub_size = 32, .scale_at = 0, .factor = 0.125F}),
    blocks(17, "IQ2_XS", 256, 74, {.unpack = &unpack_iq2_xs, .sub_size = 16, .scale_at = 0, .factor = 0.125F}),
    blocks(22, "IQ2_S", 256, 82, {.unpack = &unpack_iq2_s, .sub_size = 16, .scale_at = 0, .factor = 0.125F}),
    blocks(18, "IQ3_XXS", 256, 98, {.unpack = &unpack_iq3_xxs, .sub_size = 32, .scale_at = 0, .factor = 0.25F}),
    blocks(21, "IQ3_S", 256, 110, {.unpack = &unpack_iq3_s, .sub_size = 32, .scale_at = 0}),
    blocks(19, "IQ1_S", 256, 50, {.unpack = &unpack_iq1_s, .sub_size = 32, .scale_at = 0, .factor = 0.125F}),
    blocks(29, "IQ1_M", 256, 56,
           {.unpack = &unpack_iq1_m, .sub_size = 16, .scale_at = 48, .factor = 0.125F, .scale_is_spread = true}),
    blocks(34, "TQ1_0", 256, 54, {&unpack_tq1_0, 256, 52}),
    blocks(35, "TQ2_0", 256, 66, {&unpack_tq2_0, 256, 64}),
    blocks(39, "MXFP4", 32, 17, {&unpack_mxfp4, 32, -1}),
    unreadable(9, "Q8_1", 32, 36),
    unreadable(15, "Q8_K", 256, 292),
    unreadable(40, "NVFP4", 64, 36),
    unreadable(41, "Q1_0", 128, 18),
    unreadable(42, "Q2_0", 64, 18),
};

constexpr std::int64_t kWeightsPerTask = 16384;

void dequantize(const GgmlType& type, const std::byte* block, BlockNumbers& numbers, float* values) {
  const auto& layout = *type.layout;
  layout.unpack(block, numbers);
  const auto d = layout.factor * block_scale(layout, block), m = block_minimum(layout, block);
  const bool nested = type.has_sub_blocks(), has_minimum = layout.minimum_at >= 0;
  const auto size = static_cast<std::size_t>(layout.sub_size);
  for (std::size_t first = 0; first < static_cast<std::size_t>(type.block_size); first += size) {
    const auto group = first / size;
    const float scale = nested ? d * static_cast<float>(numbers.scales.at(group)) : d;
    const float minimum = nested ? m * static_cast<float>(numbers.minima.at(group)) : m;
    const auto* codes = numbers.codes.data() + first;
    for (std::size_t i = 0; i < size; ++i) {
      const auto product = scale * static_cast<float>(codes[i]);
      *values++ = has_minimum ? product + minimum : product;  // or -0 would become 0
    }
  }
}

// The codes plus 128, which flips the highest bit of each. In words of eight codes, since blocks are whole numbers of
// them.
void put_unsigned(const BlockNumbers& numbers, std::int64_t block_size, std::uint8_t* target) {
  constexpr std::uint64_t kHighest = 0x8080808080808080U;
  for (std::int64_t j = 0; j < block_size; j += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, numbers.codes.data() + j, sizeof word);
    word ^= kHighest;
    std::memcpy(target + j, &word, sizeof word);
  }
}

// Blocks in `bytes`. Throws Error unless they make `weights` weights.
std::int64_t count_blocks(const GgmlType& type, std::span<const std::byte> bytes, std::optional<std::uint64_t> weights,
                          at::IntArrayRef shape) {
  const auto count = static_cast<std::int64_t>(bytes.size()) / type.block_bytes;
  if (!weights || *weights != static_cast<std::uint64_t>(count * type.block_size) ||
      count * type.block_bytes != static_cast<std::int64_t>(bytes.size())) {
    fail("{} bytes of {} do not make a tensor of shape {}", bytes.size(), type.name, c10::str(shape));
  }
  return count;
}

// work(block number, its bytes, scratch), in parallel.
template <class Work>
void for_blocks(const GgmlType& type, std::span<const std::byte> bytes, std::int64_t count, const Work& work) {
  at::parallel_for(0, count, kWeightsPerTask / type.block_size, [&](std::int64_t begin, std::int64_t end) {
    BlockNumbers numbers = {};
    for (auto i = begin; i < end; ++i) work(i, bytes.data() + i * type.block_bytes, numbers);
  });
}

}  // namespace

std::span<const GgmlType> ggml_types() { return kTypes; }

const GgmlType* find_ggml_type(std::uint32_t id) {
  const auto* found = std::ranges::find(kTypes, id, &GgmlType::id);
  return found == std::ranges::end(kTypes) ? nullptr : found;
}

at::Tensor dequantize_blocks(const GgmlType& type, std::span<const std::byte> bytes, at::IntArrayRef shape) {
  const auto count = count_blocks(type, bytes, element_count(shape), shape);
  auto values = at::empty(shape, at::kFloat);
  auto* target = values.mutable_data_ptr<float>();
  for_blocks(type, bytes, count, [&](std::int64_t i, const std::byte* block, BlockNumbers& numbers) {
    dequantize(type, block, numbers, target + i * type.block_size);
  });
  return values;
}

namespace {

weights::BlockWeight empty_blocks(const GgmlType& type, std::int64_t rows, std::int64_t columns,
                                  const at::TensorOptions& options) {
  const auto& layout = *type.layout;
  weights::BlockWeight weight;
  weight.sub_size = static_cast<int>(layout.sub_size);
  weight.block_size = static_cast<int>(type.block_size);
  weight.factor = layout.factor;
  weight.bits = 8.0 * static_cast<double>(type.block_bytes) / static_cast<double>(type.block_size);
  weight.type_name = type.name;
  weight.codes = at::empty({rows, columns}, options.dtype(at::kByte));
  weight.scales = at::empty({rows, columns / type.block_size}, options.dtype(at::kFloat));
  if (layout.minimum_at >= 0) weight.minima = at::empty_like(weight.scales);
  if (type.has_sub_blocks()) {
    weight.sub_scales = at::empty({rows, columns / layout.sub_size}, options.dtype(at::kChar));
    if (layout.minimum_at >= 0) weight.sub_minima = at::empty_like(weight.sub_scales);
  }
  return weight;
}

}  // namespace

weights::BlockWeight outline_blocks(const GgmlType& type, std::int64_t rows, std::int64_t columns) {
  return empty_blocks(type, rows, columns, at::TensorOptions(at::kMeta));
}

weights::BlockWeight unpack_blocks(const GgmlType& type, std::span<const std::byte> bytes, std::int64_t rows) {
  const auto& layout = *type.layout;
  const auto columns = static_cast<std::int64_t>(bytes.size()) / type.block_bytes * type.block_size / rows;
  const auto count = count_blocks(type, bytes, static_cast<std::uint64_t>(rows * columns), {rows, columns});
  const auto subs = type.block_size / layout.sub_size;
  auto weight = empty_blocks(type, rows, columns, at::TensorOptions(at::kCPU));
  auto* codes = weight.codes.mutable_data_ptr<std::uint8_t>();
  auto* scales = weight.scales.mutable_data_ptr<float>();
  auto* minima = weight.minima.defined() ? weight.minima.mutable_data_ptr<float>() : nullptr;
  auto* sub_scales = weight.sub_scales.defined() ? weight.sub_scales.mutable_data_ptr<std::int8_t>() : nullptr;
  auto* sub_minima = weight.sub_minima.defined() ? weight.sub_minima.mutable_data_ptr<std::int8_t>() : nullptr;
  for_blocks(type, bytes, count, [&](std::int64_t i, const std::byte* block, BlockNumbers& numbers) {
    layout.unpack(block, numbers);
    put_unsigned(numbers, type.block_size, codes + i * type.block_size);
    scales[i] = block_scale(layout, block);
    if (minima != nullptr) minima[i] = block_minimum(layout, block);
    if (sub_scales != nullptr) std::copy_n(numbers.scales.begin(), subs, sub_scales + i * subs);
    if (sub_minima != nullptr) std::copy_n(numbers.minima.begin(), subs, sub_minima + i * subs);
  });
  return weight;
}

}  // namespace normtweak::formats
