#include "normtweak/formats/linears/written_affine.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>

#include <algorithm>
#include <utility>

#include "normtweak/base/device/finite.h"
#include "normtweak/base/device/type_name.h"

namespace normtweak::formats {

using weights::AffineWeight;

const AffineWeight& written_affine(const QuantizedModule& module, std::string_view format) {
  if (module.input_quantizer) fail("its input is rounded, which {} cannot say; compressed-tensors can", format);
  const auto* affine = std::get_if<AffineWeight>(&module.weight);
  if (affine == nullptr) {
    fail("{} holds integers with scales and zero-points, and this weight is {}", format,
         weights::describe(module.weight).name);
  }
  if (affine->float_zeros && !affine->symmetric) {
    fail("{} holds whole zero-points, and those of this weight are floats", format);
  }
  weights::check_shapes(*affine);
  return *affine;
}

at::Tensor stored_float(const at::Tensor& master, at::ScalarType type, std::string_view what) {
  const auto stored = master.detach().cpu().to(type).contiguous();
  if (!all_finite(stored)) {
    fail("{} does not fit {}; choose bfloat16 or float32 to store it in", what, type_name(type));
  }
  return stored;
}

at::Tensor whole_zeros(const AffineWeight& weight) {
  const auto zeros = weight.zeros.detach().cpu();
  const auto whole = (zeros == zeros.round()) & (zeros >= 0) & (zeros < (1 << weight.bits));
  if (!whole.all().item<bool>()) {
    fail("zero-points must be whole numbers from 0 to {}; mark the weight `float_zeros` to store others",
         (1 << weight.bits) - 1);
  }
  return zeros.to(at::kByte);
}

at::Tensor group_indices(const AffineWeight& weight) {
  const auto sorted = at::arange(weight.codes.size(1), at::kLong).div(columns_per_group(weight), "floor");
  if (!weight.order.defined()) return sorted.to(at::kInt);
  auto group_of = sorted.clone();
  return group_of.index_copy_(0, weight.order.cpu(), sorted).to(at::kInt);
}

SharedSettings shared_settings(std::span<const QuantizedModule> modules, std::string_view format) {
  std::vector<std::pair<AffineWeight, std::vector<std::string>>> found;
  for (const auto& module : modules) {
    const auto& name = module.name;
    const auto& affine = for_module(name, [&]() -> const AffineWeight& { return written_affine(module, format); });
    auto same = std::ranges::find_if(found, [&](const auto& entry) {
      const auto& [other, names] = entry;
      return other.bits == affine.bits && other.group_size == affine.group_size && other.symmetric == affine.symmetric;
    });
    if (same == found.end()) same = found.insert(found.end(), {affine, {}});
    same->second.push_back(name);
  }
  if (found.empty()) fail("{}: no linear is quantized; `--format hf` saves a float model", format);
  const auto most = std::ranges::max_element(found, {}, [](const auto& entry) { return entry.second.size(); });
  SharedSettings shared = {.standard = most->first, .others = {}};
  for (auto entry = found.begin(); entry != found.end(); ++entry) {
    if (entry != most) shared.others.push_back(std::move(*entry));
  }
  return shared;
}

}  // namespace normtweak::formats
