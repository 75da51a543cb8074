// The tensors of a quantized weight that have a row for each output channel: channels can be worked on in slices.
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

#include "normtweak/weights/affine_weight.h"
#include "normtweak/weights/block_weight.h"
#include "normtweak/weights/codebook_weight.h"

namespace normtweak::quantize {

// Some may be undefined.
std::vector<at::Tensor*> channel_tensors(weights::AffineWeight& weight);
std::vector<at::Tensor*> channel_tensors(weights::BlockWeight& weight);
std::vector<at::Tensor*> channel_tensors(weights::CodebookWeight& weight);

// change(tensor) for each that is defined.
template <class Weight, class Change>
Weight with_changed_tensors(Weight weight, const Change& change) {
  for (auto* tensor : channel_tensors(weight)) {
    if (tensor->defined()) *tensor = change(*tensor);
  }
  return weight;
}

// These channels; shares memory with the weight.
template <class Weight>
Weight channel_rows(const Weight& weight, std::int64_t first, std::int64_t count) {
  return with_changed_tensors(weight, [&](const at::Tensor& all) { return all.narrow(0, first, count); });
}

// Of two weights of one kind and shape.
void copy_tensors(const std::vector<at::Tensor*>& to, const std::vector<at::Tensor*>& from);

}  // namespace normtweak::quantize
