#include "normtweak/weights/exact_affine.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full_like.h>

#include "normtweak/base/device/type_name.h"
#include "normtweak/base/error.h"

namespace normtweak::weights {
namespace {

// The codes of a block count from 128; those of an affine weight have a zero-point in the middle of their bits.
AffineWeight affine(const BlockWeight& blocks) {
  if (blocks.sub_scales.defined() || blocks.minima.defined()) {
    fail("is {}, which has more than one scale for a block and codes around zero", blocks.type_name);
  }
  AffineWeight weight;
  weight.bits = static_cast<int>(blocks.bits);  // of these, the scale takes a share of one
  const int zero = 1 << (weight.bits - 1), first = kBlockZero - zero;
  const auto least = blocks.codes.min().item<std::int64_t>(), most = blocks.codes.max().item<std::int64_t>();
  if (least < first || most >= kBlockZero + zero) {
    fail("is {}, whose codes stand for other values than integers of {} bits", blocks.type_name, weight.bits);
  }
  weight.codes = blocks.codes - first;
  weight.scales = blocks.scales;
  weight.zeros = at::full_like(blocks.scales, zero);
  weight.group_size = blocks.scales.size(1) == 1 ? 0 : blocks.block_size;
  weight.scale_type = blocks.scale_type;
  return weight;
}

AffineWeight affine(const Weight& weight) {
  if (const auto* blocks = std::get_if<BlockWeight>(&weight)) return affine(*blocks);
  if (const auto* found = std::get_if<AffineWeight>(&weight)) return *found;
  fail("is {}, and no integers with scales and zero-points", describe(weight).name);
}

}  // namespace

AffineWeight exact_affine(const Weight& weight, std::optional<at::ScalarType> scale_type) {
  auto exact = affine(weight);
  exact.stores_zeros = false;
  exact.symmetric = exact.zeros.eq(1 << (exact.bits - 1)).all().item<bool>();
  if (scale_type && *scale_type != exact.scale_type) {
    if (!exact.scales.to(*scale_type).to(at::kFloat).equal(exact.scales)) {
      fail("its scales are {}, and some are no values of {}", type_name(exact.scale_type), type_name(*scale_type));
    }
    exact.scale_type = *scale_type;
  }
  return exact;
}

AffineWeight without_data(const AffineWeight& weight) {
  auto outline = weight;
  for (auto* tensor : {&outline.codes, &outline.scales, &outline.zeros, &outline.order}) {
    if (tensor->defined()) *tensor = tensor->to(at::kMeta);
  }
  return outline;
}

}  // namespace normtweak::weights
