#include "normtweak/formats/ggml_blocks.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "normtweak/base/error.h"
#include "normtweak/formats/ggml_block_codecs.h"
#include "normtweak/formats/tensor_bytes.h"

namespace normtweak::formats {
namespace {

constexpr GgmlType plain(std::uint32_t id, std::string_view name, at::ScalarType type, std::int64_t bytes) {
  return {id, name, 1, bytes, type, nullptr};
}

constexpr GgmlType blocks(std::uint32_t id, std::string_view name, std::int64_t size, std::int64_t bytes,
                          BlockDecoder* decoder) {
  return {id, name, size, bytes, at::kFloat, decoder};
}

constexpr GgmlType unreadable(std::uint32_t id, std::string_view name, std::int64_t size, std::int64_t bytes) {
  return {id, name, size, bytes, std::nullopt, nullptr};
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
    blocks(2, "Q4_0", 32, 18, &dequantize_q4_0),
    blocks(3, "Q4_1", 32, 20, &dequantize_q4_1),
    blocks(6, "Q5_0", 32, 22, &dequantize_q5_0),
    blocks(7, "Q5_1", 32, 24, &dequantize_q5_1),
    blocks(8, "Q8_0", 32, 34, &dequantize_q8_0),
    blocks(10, "Q2_K", 256, 84, &dequantize_q2_k),
    blocks(11, "Q3_K", 256, 110, &dequantize_q3_k),
    blocks(12, "Q4_K", 256, 144, &dequantize_q4_k),
    blocks(13, "Q5_K", 256, 176, &dequantize_q5_k),
    blocks(14, "Q6_K", 256, 210, &dequantize_q6_k),
    unreadable(9, "Q8_1", 32, 36),
    unreadable(15, "Q8_K", 256, 292),
    unreadable(16, "IQ2_XXS", 256, 66),
    unreadable(17, "IQ2_XS", 256, 74),
    unreadable(18, "IQ3_XXS", 256, 98),
    unreadable(19, "IQ1_S", 256, 50),
    unreadable(20, "IQ4_NL", 32, 18),
    unreadable(21, "IQ3_S", 256, 110),
    unreadable(22, "IQ2_S", 256, 82),
    unreadable(23, "IQ4_XS", 256, 136),
    unreadable(29, "IQ1_M", 256, 56),
    unreadable(34, "TQ1_0", 256, 54),
    unreadable(35, "TQ2_0", 256, 66),
    unreadable(39, "MXFP4", 32, 17),
};

}  // namespace

std::span<const GgmlType> ggml_types() { return kTypes; }

const GgmlType* find_ggml_type(std::uint32_t id) {
  const auto* found = std::ranges::find(kTypes, id, &GgmlType::id);
  return found == std::ranges::end(kTypes) ? nullptr : found;
}

at::Tensor dequantize_blocks(const GgmlType& type, std::span<const std::byte> bytes, at::IntArrayRef shape) {
  const auto weights = element_count(shape);
  const auto count = static_cast<std::int64_t>(bytes.size()) / type.block_bytes;
  if (!weights || *weights != static_cast<std::uint64_t>(count * type.block_size) ||
      count * type.block_bytes != static_cast<std::int64_t>(bytes.size())) {
    fail("{} bytes of {} do not make a tensor of shape {}", bytes.size(), type.name, c10::str(shape));
  }
  auto values = at::empty(shape, at::kFloat);
  auto* target = values.mutable_data_ptr<float>();
  const auto grain = 16384 / type.block_size;
  at::parallel_for(0, count, grain, [&](std::int64_t begin, std::int64_t end) {
    type.dequantize(bytes.data() + begin * type.block_bytes, end - begin, target + begin * type.block_size);
  });
  return values;
}

}  // namespace normtweak::formats
