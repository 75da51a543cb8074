#include "normtweak/quantize/channel_rows.h"

#include "normtweak/base/error.h"

namespace normtweak::quantize {

std::vector<at::Tensor*> channel_tensors(weights::AffineWeight& weight) {
  return {&weight.codes, &weight.scales, &weight.zeros};
}

std::vector<at::Tensor*> channel_tensors(weights::BlockWeight& weight) {
  return {&weight.codes, &weight.sub_scales, &weight.sub_minima, &weight.scales, &weight.minima};
}

std::vector<at::Tensor*> channel_tensors(weights::CodebookWeight& weight) { return {&weight.codes, &weight.codebook}; }

namespace {

template <class Weight>
weights::Weight rows_of(const Weight& weight, std::int64_t first, std::int64_t count) {
  if constexpr (requires(Weight& any) { channel_tensors(any); }) {
    return channel_rows(weight, first, count);
  } else {
    fail("this kind of weight cannot be split by output channels");
  }
}

}  // namespace

std::vector<weights::Weight> split_channels(const weights::Weight& whole, const std::vector<std::int64_t>& counts) {
  std::vector<weights::Weight> parts;
  std::int64_t first = 0;
  for (const auto count : counts) {
    parts.push_back(std::visit([&](const auto& weight) { return rows_of(weight, first, count); }, whole));
    first += count;
  }
  return parts;
}

void copy_tensors(const std::vector<at::Tensor*>& to, const std::vector<at::Tensor*>& from) {
  for (std::size_t i = 0; i < to.size(); ++i) {
    if (to[i]->defined()) to[i]->copy_(*from[i]);
  }
}

}  // namespace normtweak::quantize
