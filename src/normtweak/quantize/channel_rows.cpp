#include "normtweak/quantize/channel_rows.h"

namespace normtweak::quantize {

std::vector<at::Tensor*> channel_tensors(weights::AffineWeight& weight) {
  return {&weight.codes, &weight.scales, &weight.zeros};
}

std::vector<at::Tensor*> channel_tensors(weights::BlockWeight& weight) {
  return {&weight.codes, &weight.sub_scales, &weight.sub_minima, &weight.scales, &weight.minima};
}

std::vector<at::Tensor*> channel_tensors(weights::CodebookWeight& weight) { return {&weight.codes, &weight.codebook}; }

void copy_tensors(const std::vector<at::Tensor*>& to, const std::vector<at::Tensor*>& from) {
  for (std::size_t i = 0; i < to.size(); ++i) {
    if (to[i]->defined()) to[i]->copy_(*from[i]);
  }
}

}  // namespace normtweak::quantize
