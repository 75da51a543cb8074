#include "normtweak/weights/exact_blocks.h"

#include <ATen/TensorOperators.h>

#include "normtweak/base/error.h"
#include "normtweak/weights/exact_affine.h"

namespace normtweak::weights {
namespace {

// Types whose value is a float times an integer, plus perhaps another float.
bool has_one_scale(const BlockType& type) { return !type.has_sub_blocks() && type.curve.empty(); }

void check_groups(const AffineWeight& weight) {
  constexpr int kColumns = 32;
  if (weight.order.defined()) {
    fail(
        "was quantized with act-order, whose groups are columns that lie apart (g_idx); blocks of a GGUF file are "
        "{} columns side by side",
        kColumns);
  }
  if (const auto columns = columns_per_group(weight); columns % kColumns != 0) {
    fail("has groups of {} columns, and a block of a GGUF file is {} columns with one scale", columns, kColumns);
  }
}

// What each type may hold of one weight.
class Values {
 public:
  explicit Values(const Weight& weight) : affine_(exact_affine(weight, at::kHalf)) {
    check_groups(affine_);
    const auto columns = columns_per_group(affine_);
    integers_ = affine_.codes.to(at::kFloat) - affine_.zeros.repeat_interleave(columns, 1);
    are_whole_ = affine_.zeros.equal(affine_.zeros.round());
    const auto minima = affine_.zeros.to(at::kDouble) * affine_.scales.to(at::kDouble) * -1;
    minima_ = minima.to(at::kHalf).to(at::kFloat);
    has_minima_ = minima_.to(at::kDouble).equal(minima);
  }

  bool fit(const BlockType& type) const {
    if (type.has_minimum) return has_minima_ && in_range(affine_.codes, type);
    return are_whole_ && in_range(integers_, type);
  }

  // Why no type does.
  [[noreturn]] void refuse() const {
    if (!are_whole_) {
      fail(
          "its zero-points are floats, and Q4_1 and Q5_1, whose minimum is minus scale times zero-point, do not hold "
          "these values: some are none of F16, or codes have more than 5 bits");
    }
    fail("its codes less their zero-points reach from {:g} to {:g}, and those of Q8_0 from -128 to 127",
         integers_.min().item<float>(), integers_.max().item<float>());
  }

  BlockWeight in(const BlockType& type) const {
    const auto repeats = columns_per_group(affine_) / type.block_size;
    const auto for_blocks = [&](const at::Tensor& groups) { return groups.repeat_interleave(repeats, 1); };
    BlockWeight blocks;
    blocks.codes = (type.has_minimum ? affine_.codes : integers_.to(at::kShort)).add(kBlockZero).to(at::kByte);
    blocks.scales = for_blocks(affine_.scales);
    if (type.has_minimum) blocks.minima = for_blocks(minima_);
    blocks.sub_size = blocks.block_size = type.block_size;
    blocks.bits = type.bits();
    blocks.type_name = type.name;
    return blocks;
  }

 private:
  static bool in_range(const at::Tensor& integers, const BlockType& type) {
    return type.codes.contains(integers.min().item<int>()) && type.codes.contains(integers.max().item<int>());
  }

  AffineWeight affine_;
  at::Tensor integers_;  // f32 [out, in]: codes less zero-points
  at::Tensor minima_;    // f32 [out, groups], rounded to f16
  bool are_whole_ = false, has_minima_ = false;
};

}  // namespace

std::vector<const BlockType*> exact_block_types(const Weight& weight) {
  const Values values(weight);
  std::vector<const BlockType*> types;
  for (const auto& type : kBlockTypes) {  // in the order of their sizes
    if (has_one_scale(type) && values.fit(type)) types.push_back(&type);
  }
  if (types.empty()) values.refuse();
  return types;
}

BlockWeight exact_blocks(const Weight& weight, const BlockType& type) {
  const Values values(weight);
  if (!has_one_scale(type) || !values.fit(type)) fail("has values that are none of {}", type.name);
  return values.in(type);
}

}  // namespace normtweak::weights
