#include "normtweak/tweak/code_grid.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/bucketize.h>
#include <ATen/ops/tensor.h>

#include <variant>
#include <vector>

#include "normtweak/base/error.h"

namespace normtweak::tweak {
namespace {

const weights::BlockType& type_of(const weights::BlockWeight& weight) {
  const auto* type = weights::find_block_type(weight.type_name);
  if (type == nullptr) fail("codes of type '{}' cannot be learned", weight.type_name);
  return *type;
}

// f32 [out, groups]
at::Tensor scales_of(const weights::Weight& weight) {
  if (const auto* block = std::get_if<weights::BlockWeight>(&weight)) return sub_block_scales(*block);
  return std::get<weights::AffineWeight>(weight).scales;
}

at::Tensor in_order(const weights::Weight& weight, const at::Tensor& columns) {
  const auto* affine = std::get_if<weights::AffineWeight>(&weight);
  return affine != nullptr ? in_code_order(*affine, columns) : columns;
}

at::Tensor in_groups(const at::Tensor& matrix, const at::Tensor& by_group) {
  return matrix.view({by_group.size(0), by_group.size(1), -1});
}

// Codes in f32 that would be the float weight, [out, groups, columns]; not finite where the scale is 0.
at::Tensor ideal_codes(const weights::Weight& weight, const at::Tensor& floats, const at::Tensor& scales) {
  const auto grouped = in_groups(in_order(weight, floats.to(at::kFloat)), scales);
  if (const auto* affine = std::get_if<weights::AffineWeight>(&weight)) {
    return (grouped / scales.unsqueeze(-1)).add_(affine->zeros.unsqueeze(-1));
  }
  const auto minima = sub_block_minima(std::get<weights::BlockWeight>(weight));
  const auto above = minima.defined() ? grouped - minima.unsqueeze(-1) : grouped;
  return (above / scales.unsqueeze(-1)).add_(weights::kBlockZero);
}

// Real numbers in place of codes → positions, which go on in line beyond the ends of a curve.
at::Tensor positions_of(const CodeGrid& grid, const at::Tensor& values) {
  if (!grid.codes.defined()) return values - grid.first;
  const auto codes = grid.codes.to(at::kFloat);
  const auto gaps = codes.diff();
  const auto below = at::bucketize(values, codes, /*out_int32=*/true).sub_(1).clamp_(0, gaps.size(0) - 1);
  const auto look_up = [&](const at::Tensor& table) {
    return table.index_select(0, below.flatten()).view(values.sizes());
  };
  return (values - look_up(codes)).div_(look_up(gaps)).add_(below);
}

}  // namespace

bool has_code_grid(const weights::Weight& weight) {
  const auto* block = std::get_if<weights::BlockWeight>(&weight);
  if (block != nullptr) return weights::find_block_type(block->type_name) != nullptr;
  return std::holds_alternative<weights::AffineWeight>(weight);
}

CodeGrid code_grid(const weights::Weight& weight) {
  const auto* block = std::get_if<weights::BlockWeight>(&weight);
  if (block == nullptr) return {.points = 1 << std::get<weights::AffineWeight>(weight).bits};
  const auto& type = type_of(*block);
  if (type.curve.empty()) return {.points = type.code_count(), .first = weights::kBlockZero + type.codes.lowest};
  std::vector<std::int64_t> codes;
  for (const auto value : type.curve) codes.push_back(weights::kBlockZero + value);
  return {.points = type.code_count(),
          .codes = at::tensor(codes, at::TensorOptions(at::kByte)).to(block->codes.device())};
}

at::Tensor& codes_of(weights::Weight& weight) {
  if (auto* block = std::get_if<weights::BlockWeight>(&weight)) return block->codes;
  return std::get<weights::AffineWeight>(weight).codes;
}

const at::Tensor& codes_of(const weights::Weight& weight) {
  if (const auto* block = std::get_if<weights::BlockWeight>(&weight)) return block->codes;
  return std::get<weights::AffineWeight>(weight).codes;
}

at::Tensor points_of(const CodeGrid& grid, const at::Tensor& codes) {
  if (grid.codes.defined()) return at::bucketize(codes, grid.codes, /*out_int32=*/true);
  return codes - grid.first;
}

at::Tensor codes_at(const CodeGrid& grid, const at::Tensor& points) {
  if (!grid.codes.defined()) return (points + grid.first).to(at::kByte);
  return grid.codes.index_select(0, points.flatten().to(at::kInt)).view(points.sizes());
}

at::Tensor distance_from_codes(const weights::Weight& weight, const at::Tensor& floats) {
  const auto scales = scales_of(weight);
  const auto grid = code_grid(weight);
  const auto& codes = codes_of(weight);
  auto distance = positions_of(grid, ideal_codes(weight, floats, scales));
  distance.sub_(points_of(grid, codes).view(distance.sizes()));
  return distance.masked_fill_(scales.eq(0).unsqueeze(-1), 0).view(codes.sizes());
}

at::Tensor toward_codes(const weights::Weight& weight, at::Tensor gradient) {
  gradient = in_order(weight, gradient);
  const auto scales = scales_of(weight);
  in_groups(gradient, scales).mul_(scales.sign().unsqueeze(-1));
  return gradient;
}

}  // namespace normtweak::tweak
