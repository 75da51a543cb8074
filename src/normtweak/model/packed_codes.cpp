#include "normtweak/model/packed_codes.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "normtweak/formats/bit_packing.h"

namespace normtweak::model {
namespace {

constexpr int kWordBits = 32, kByteBits = 8;

bool is_packed(const at::Tensor& codes) { return codes.scalar_type() == at::kInt; }

bool can_be_packed(const at::Tensor& codes, int bits) {
  return !is_packed(codes) && bits < kByteBits && codes.size(1) * bits % kWordBits == 0;
}

std::int64_t unpacked_columns(const at::Tensor& packed, int bits) { return packed.size(1) * kWordBits / bits; }

template <class Change>
Block map_codes(const Block& block, const Change& change) {
  auto changed = block;
  for (auto& part : changed.linears) part.linear.weight = weights::map_codes(part.linear.weight, change);
  return changed;
}

}  // namespace

std::int64_t bytes_saved_by_packing(const weights::Weight& weight) {
  std::int64_t saved = 0;
  weights::map_codes(weight, [&](const at::Tensor& codes, int bits) {
    if (can_be_packed(codes, bits)) saved = codes.numel() / kByteBits * (kByteBits - bits);
    return codes;
  });
  return saved;
}

CodesToPack::CodesToPack(const Block& block) {
  map_codes(block, [&](const at::Tensor& codes, int bits) {
    if (can_be_packed(codes, bits)) all_.push_back({codes, bits});
    return codes;
  });
}

at::Tensor CodesToPack::packed(const at::Tensor& tensor) const {
  const auto found = std::ranges::find_if(all_, [&](const Codes& one) { return one.codes.is_same(tensor); });
  return found == all_.end() ? tensor : formats::pack_rows(tensor, found->bits);
}

bool has_packed_codes(const Block& block) {
  return std::ranges::any_of(block.linears, [](const BlockLinear& part) {
    const auto& weight = part.linear.weight;  // the first tensor of a quantized one are its codes
    return weights::is_quantized(weight) && is_packed(weights::tensors(weight).front());
  });
}

weights::Weight with_unpacked_codes(const weights::Weight& weight) {
  return weights::map_codes(weight, [](const at::Tensor& codes, int bits) {
    return is_packed(codes) ? formats::unpack_rows(codes, bits, unpacked_columns(codes, bits)) : codes;
  });
}

Block with_unpacked_codes(const Block& block) {
  auto unpacked = block;
  for (auto& part : unpacked.linears) part.linear.weight = with_unpacked_codes(part.linear.weight);
  return unpacked;
}

Block without_code_values(const Block& block) {
  return map_codes(block, [](const at::Tensor& codes, int bits) {
    const auto columns = is_packed(codes) ? unpacked_columns(codes, bits) : codes.size(1);
    return at::empty({codes.size(0), columns}, at::TensorOptions(at::kByte).device(at::kMeta));
  });
}

}  // namespace normtweak::model
