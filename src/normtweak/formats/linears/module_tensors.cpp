#include "normtweak/formats/linears/module_tensors.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "normtweak/base/device/finite.h"
#include "normtweak/base/device/type_name.h"

namespace normtweak::formats {
namespace {

bool matches(at::IntArrayRef found, at::IntArrayRef expected) {
  return std::ranges::equal(found, expected, [](std::int64_t a, std::int64_t b) { return b < 0 || a == b; });
}

}  // namespace

TensorInfo ModuleTensors::info(std::string_view part) const {
  if (!has(part)) {
    fail("{}: has no tensor {}, which a quantized linear of this kind needs; the file is incomplete",
         file_.file_of(name(part)), name(part));
  }
  return file_.info(name(part));
}

TensorInfo ModuleTensors::info(std::string_view part, at::ScalarType type, at::IntArrayRef shape) const {
  auto found = info(part);
  if (found.type != type) refuse(part, "{} expected, the file has {}", type_name(type), type_name(found.type));
  if (!matches(found.shape, shape)) {
    refuse(part, "shape {} expected (-1: any size), the file has {}; it does not fit the linear's other tensors",
           c10::str(shape), c10::str(at::IntArrayRef(found.shape)));
  }
  return found;
}

at::Tensor ModuleTensors::read(std::string_view part, at::ScalarType type, at::IntArrayRef shape) const {
  info(part, type, shape);
  return file_.read(name(part));
}

at::ScalarType ModuleTensors::float_type(std::string_view part, at::IntArrayRef shape) const {
  const auto found = info(part).type;
  if (found != at::kHalf && found != at::kBFloat16 && found != at::kFloat) {
    refuse(part, "F16, BF16 or F32 expected, the file has {}", type_name(found));
  }
  info(part, found, shape);
  return found;
}

at::Tensor ModuleTensors::floats(std::string_view part, at::IntArrayRef shape) const {
  const auto type = float_type(part, shape);
  auto values = read(part, type, shape).to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  if (!all_finite(values)) {
    fail("{} holds NaN or infinity; the file is damaged or was saved from a failed run", described_part(part));
  }
  return values;
}

std::vector<StoredLinear> linears_with(const TensorSource& file, std::span<const std::string_view> parts) {
  std::vector<StoredLinear> found;
  const auto ending = fmt::format(".{}", parts.front());
  for (const auto& name : file.names()) {
    if (!name.ends_with(ending)) continue;
    StoredLinear linear = {.module = name.substr(0, name.size() - ending.size()), .tensors = {name}};
    for (const auto part : parts.subspan(1)) {
      auto other = fmt::format("{}.{}", linear.module, part);
      if (file.contains(other)) linear.tensors.push_back(std::move(other));
    }
    found.push_back(std::move(linear));
  }
  return found;
}

int checked_group_size(const ModuleTensors& tensors, std::string_view part, int group_size, std::int64_t columns,
                       std::int64_t groups) {
  const auto size = group_size <= 0 ? columns : std::min<std::int64_t>(group_size, columns);
  if (columns % size != 0) {
    tensors.refuse(part, "group size {} does not divide the {} input columns, which is not supported", group_size,
                   columns);
  }
  if (columns / size != groups) {
    tensors.refuse(part, "holds {} groups, but the config has groups of {} for {} input columns", groups, group_size,
                   columns);
  }
  return groups == 1 ? 0 : static_cast<int>(size);
}

at::Tensor later(std::initializer_list<std::int64_t> shape, at::ScalarType type) {
  return at::empty(shape, at::TensorOptions(type).device(at::kMeta));
}

weights::AffineWeight affine_outline(const AffineOutline& outline) {
  const auto groups = outline.group_size > 0 ? outline.columns / outline.group_size : 1;
  weights::AffineWeight weight;
  weight.codes = later({outline.rows, outline.columns}, at::kByte);
  weight.scales = later({outline.rows, groups}, at::kFloat);
  weight.zeros = later({outline.rows, groups}, at::kFloat);
  weight.bits = outline.bits;
  weight.group_size = outline.group_size;
  weight.symmetric = outline.symmetric;
  weight.scale_type = outline.scale_type;
  if (outline.ordered) weight.order = later({outline.columns}, at::kLong);
  return weight;
}

at::Tensor order_of_groups(const ModuleTensors& tensors, std::string_view part, const AffineOutline& outline) {
  const auto group_of = tensors.read(part, at::kInt, {outline.columns}).to(at::kLong);
  const auto size = outline.group_size > 0 ? outline.group_size : outline.columns;
  const auto groups = outline.columns / size;
  if ((group_of < 0).any().item<bool>() || (group_of >= groups).any().item<bool>()) {
    tensors.refuse(part, "holds groups from {} to {}, and the linear has {}; the file is damaged",
                   group_of.min().item<std::int64_t>(), group_of.max().item<std::int64_t>(), groups);
  }
  if (group_of.equal(at::arange(outline.columns, at::kLong).div(size, "floor"))) return {};
  if (!at::bincount(group_of, {}, groups).eq(size).all().item<bool>()) {
    tensors.refuse(part, "its groups have different numbers of columns, which is not supported");
  }
  return at::argsort(group_of, /*stable=*/true, /*dim=*/0, /*descending=*/false);
}

}  // namespace normtweak::formats
