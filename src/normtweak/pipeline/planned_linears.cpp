#include "normtweak/pipeline/planned_linears.h"

#include <ATen/ops/empty.h>
#include <c10/util/accumulate.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <utility>

#include "normtweak/model/packed_codes.h"
#include "normtweak/quantize/block_search.h"
#include "normtweak/weights/float8.h"

namespace normtweak::pipeline {

std::optional<weights::Weight> coded_outline(const model::Checkpoint& checkpoint, const model::LinearShape& shape) {
  const auto name = stored_name(checkpoint, shape.name + ".weight");
  if (!checkpoint.keeps_codes || !checkpoint.tensors->contains(name)) return std::nullopt;
  return checkpoint.tensors->outline(name);
}

namespace {

std::int64_t bytes_of(const weights::Weight& weight) {
  std::int64_t bytes = 0;
  for (const auto& tensor : weights::tensors(weight)) bytes += static_cast<std::int64_t>(tensor.nbytes());
  return bytes;
}

// bytes: of the weight with codes of a byte. Pinned memory rounds a tensor up to a power of two, which kHostShare
// allows for up to a factor of its own: packed codes that are rounded up by more, as those of 3 bits may be, count for
// more.
std::int64_t bytes_on_host(const weights::Weight& weight, std::int64_t bytes) {
  const auto saved = model::bytes_saved_by_packing(weight);
  if (saved == 0) return bytes;
  const auto codes = c10::multiply_integers(weights::shape(weight));
  const auto packed = codes - saved;
  const auto pinned = static_cast<double>(std::bit_ceil(static_cast<std::uint64_t>(packed)));
  return bytes - codes + std::max(packed, static_cast<std::int64_t>(pinned * kHostShare));
}

// Sums up linears, block by block.
class Sizes {
 public:
  void add(int block, const weights::Weight& weight, std::int64_t weights) {
    const auto bytes = bytes_of(weight);
    add(block, bytes, weights);
    saved_ += bytes - bytes_on_host(weight, bytes);
  }

  void add(int block, std::int64_t bytes, std::int64_t weights) {
    if (block != block_) {
      finish_block();
      block_ = block;
    }
    block_bytes_ += bytes;
    block_weights_ += weights;
  }

  QuantizedSize take() {
    finish_block();
    const auto weights = static_cast<double>(std::max<std::int64_t>(1, weights_));
    return {static_cast<double>(bytes_) / weights, largest_, static_cast<double>(bytes_ - saved_) / weights};
  }

 private:
  void finish_block() {
    if (block_weights_ > 0) {
      largest_ = std::max(largest_, static_cast<double>(block_bytes_) / static_cast<double>(block_weights_));
    }
    bytes_ += block_bytes_;
    weights_ += block_weights_;
    block_bytes_ = block_weights_ = 0;
  }

  int block_ = 0;
  std::int64_t bytes_ = 0, weights_ = 0, block_bytes_ = 0, block_weights_ = 0, saved_ = 0;
  double largest_ = 0;
};

}  // namespace

std::vector<PlannedLinear> planned_linears(const quantize::QuantizationPlan& plan,
                                           const model::Checkpoint& checkpoint) {
  std::vector<PlannedLinear> all;
  for (int block = 0; block < checkpoint.numbers.layers; ++block) {
    for (auto& shape : linear_shapes(checkpoint, block)) {
      auto linear_plan = model::stays_float(shape.role) ? std::nullopt : plan.plan_for(shape.name);
      all.push_back({std::move(shape), block, std::move(linear_plan)});
    }
  }
  return all;
}

std::vector<quantize::PlanShare> plan_shares(const std::vector<PlannedLinear>& linears) {
  std::vector<quantize::PlanShare> shares;
  for (const auto& linear : linears) {
    std::optional<quantize::LinearPlan> plan;
    if (linear.plan) plan = settings_in_effect(*linear.plan);
    auto share = std::ranges::find(shares, plan, &quantize::PlanShare::plan);
    if (share == shares.end()) share = shares.insert(shares.end(), {.plan = std::move(plan)});
    ++share->linears;
  }
  return shares;
}

quantize::LinearPlan main_plan(const quantize::LinearPlan& standard, const std::vector<quantize::PlanShare>& shares) {
  const std::optional asked = settings_in_effect(standard);
  auto main = standard;
  std::int64_t most = 0;
  for (const auto& share : shares) {
    if (share.plan == asked) return standard;
    if (!share.plan || share.linears <= most) continue;
    main = *share.plan;
    most = share.linears;
  }
  return main;
}

namespace {

at::Tensor empty(std::int64_t rows, std::int64_t columns, at::ScalarType type) {
  return at::empty({rows, columns}, at::TensorOptions(type).device(at::kMeta));
}

weights::BlockWeight outline_of_blocks(const model::LinearShape& shape, const weights::BlockType& type) {
  const auto blocks = shape.in / type.block_size, subs = shape.in / type.sub_size;
  quantize::BlockGrid grid = {
      .scales = empty(shape.out, blocks, at::kFloat), .minima = {}, .sub_scales = {}, .sub_minima = {}};
  if (type.has_minimum) grid.minima = grid.scales;
  if (type.has_sub_blocks()) grid.sub_scales = empty(shape.out, subs, at::kChar);
  if (type.has_sub_blocks() && type.has_minimum) grid.sub_minima = grid.sub_scales;
  return quantize::block_weight(empty(shape.out, shape.in, at::kByte), grid, type);
}

}  // namespace

weights::Weight outline(const model::LinearShape& shape, const quantize::LinearPlan& plan) {
  if (!plan.block_type.empty()) return outline_of_blocks(shape, quantize::find_block_type(plan.block_type));
  const auto codes = empty(shape.out, shape.in, at::kByte);
  if (quantize::has_codebooks(plan)) {
    const auto codebooks = plan.codebook_group > 0 ? shape.in / plan.codebook_group : 1;
    return weights::CodebookWeight{.codes = codes,
                                   .codebook = empty(shape.out, codebooks << plan.bits, at::kFloat),
                                   .bits = plan.bits,
                                   .codebook_type = plan.scale_type};
  }
  if (const auto& quantizer = quantize::find_quantizer(plan.method); quantizer.gives_float8) {
    return weights::float8_weight(codes, empty(quantizer.one_scale ? 1 : shape.out, 1, at::kFloat), plan.scale_type);
  }
  const auto groups = plan.group_size > 0 ? shape.in / plan.group_size : 1;
  return weights::AffineWeight{.codes = codes,
                               .scales = empty(shape.out, groups, at::kFloat),
                               .zeros = empty(shape.out, groups, at::kFloat),
                               .bits = plan.bits,
                               .group_size = plan.group_size,
                               .symmetric = plan.symmetric,
                               .float_zeros = plan.float_zeros,
                               .scale_type = plan.scale_type,
                               .loaded_type = plan.loaded_type};
}

formats::QuantizedModule outlined_module(const model::LinearShape& shape, const quantize::LinearPlan& plan) {
  formats::QuantizedModule module = {.name = shape.name, .weight = outline(shape, plan)};
  if (const auto settings = activation_settings(plan)) {
    module.input_quantizer = {.settings = *settings, .scale_type = plan.scale_type};
  }
  return module;
}

bool wants_hessians(const std::vector<PlannedLinear>& linears) {
  return std::ranges::any_of(linears, [](const auto& linear) { return linear.plan && needs_hessian(*linear.plan); });
}

bool wants_drift(const std::vector<PlannedLinear>& linears) {
  return std::ranges::any_of(linears, [](const auto& linear) { return linear.plan && feeds_back(*linear.plan); });
}

bool wants_learned_rounding(const std::vector<PlannedLinear>& linears) {
  return std::ranges::any_of(linears, [](const PlannedLinear& linear) {
    return linear.plan && quantize::find_quantizer(linear.plan->method).learns_rounding;
  });
}

std::int64_t linear_weights(const std::vector<PlannedLinear>& linears) {
  std::int64_t weights = 0;
  for (const auto& linear : linears) weights += linear.shape.out * linear.shape.in;
  return weights;
}

LearnedCodes learned_codes(const std::vector<PlannedLinear>& linears, const tweak::CodeOptions& options) {
  LearnedCodes learned;
  for (const auto& linear : linears) {
    if (!linear.plan) continue;
    ++learned.quantized;
    if (!learns(options, linear.shape.name)) continue;
    if (!tweak::has_code_grid(outline(linear.shape, *linear.plan))) continue;
    ++learned.linears;
    learned.weights += linear.shape.out * linear.shape.in;
  }
  return learned;
}

bool wants_sweeps(const std::vector<PlannedLinear>& linears) {
  return std::ranges::any_of(linears, [](const auto& linear) {
    return linear.plan && feeds_back(*linear.plan) && resolved_options(*linear.plan).sweeps > 0;
  });
}

QuantizedSize size_in_memory(const std::vector<PlannedLinear>& linears) {
  constexpr std::int64_t kFloat = 4;
  Sizes sizes;
  for (const auto& [shape, block, plan] : linears) {
    const auto weights = shape.out * shape.in;
    plan ? sizes.add(block, outline(shape, *plan), weights) : sizes.add(block, weights * kFloat, weights);
  }
  return sizes.take();
}

QuantizedSize size_in_memory(const model::Checkpoint& checkpoint, at::ScalarType type) {
  Sizes sizes;
  const auto element = static_cast<std::int64_t>(c10::elementSize(type));
  for (int block = 0; block < checkpoint.numbers.layers; ++block) {
    for (const auto& shape : linear_shapes(checkpoint, block)) {
      const auto coded = coded_outline(checkpoint, shape);
      const auto weights = shape.out * shape.in;
      coded ? sizes.add(block, *coded, weights) : sizes.add(block, weights * element, weights);
    }
  }
  return sizes.take();
}

std::int64_t packed_head_bytes(const model::Checkpoint& checkpoint) {
  if (checkpoint.numbers.tied_head) return 0;
  const auto coded = coded_outline(checkpoint, head_shape(*checkpoint.family, checkpoint.numbers));
  return coded ? bytes_of(*coded) : 0;
}

}  // namespace normtweak::pipeline
