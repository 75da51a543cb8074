#include "normtweak/model/packed_codes.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "normtweak/formats/bit_packing.h"

namespace normtweak::model {
namespace {

constexpr int kWordBits = 32, kByteBits = 8;

bool fills_words(const at::Tensor& codes, int bits) {
  return bits < kByteBits && codes.size(1) * bits % kWordBits == 0;
}

bool is_packed(const at::Tensor& codes) { return codes.scalar_type() == at::kInt; }

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
    if (fills_words(codes, bits)) saved = codes.numel() / kByteBits * (kByteBits - bits);
    return codes;
  });
  return saved;
}

CodesToPack::CodesToPack(const Block& block) {
  map_codes(block, [&](const at::Tensor& codes, int bits) {
    if (fills_words(codes, bits)) all_.push_back({codes, bits});
    return codes;
  });
}

at::Tensor CodesToPack::packed(const at::Tensor& tensor) const {
  const auto found = std::ranges::find_if(all_, [&](const Codes& one) { return one.codes.is_same(tensor); });
  return found == all_.end() ? tensor : formats::pack_rows(tensor, found->bits);
}

bool has_packed_codes(const Block& block) {
  bool found = false;
  map_codes(block, [&](const at::Tensor& codes, int) {
    found |= is_packed(codes);
    return codes;
  });
  return found;
}

Block with_unpacked_codes(const Block& block) {
  return map_codes(block, [](const at::Tensor& codes, int bits) {
    return is_packed(codes) ? formats::unpack_rows(codes, bits, unpacked_columns(codes, bits)) : codes;
  });
}

Block without_code_values(const Block& block) {
  return map_codes(block, [](const at::Tensor& codes, int bits) {
    const auto columns = is_packed(codes) ? unpacked_columns(codes, bits) : codes.size(1);
    return at::empty({codes.size(0), columns}, at::TensorOptions(at::kByte).device(at::kMeta));
  });
}

}  // namespace normtweak::model
