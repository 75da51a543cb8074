// What the writers of affine weights share: checks, and the tensors that they pack.
#pragma once
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/base/about.h"
#include "normtweak/formats/linears/quantized_linears.h"

namespace normtweak::formats {

// Runs `action` for a linear, which an Error then names.
template <class Action>
auto for_module(const std::string& module, const Action& action) {
  return about("linear " + module, action);
}

// Throws Error if the weight is not affine, if its zero-points are floats, or if the input is rounded: `format` does
// not hold it.
const weights::AffineWeight& written_affine(const QuantizedModule& module, std::string_view format);

// `master` in `type`. Throws Error calling it `what` if a value does not fit.
at::Tensor stored_float(const at::Tensor& master, at::ScalarType type, std::string_view what);

// u8 [out, groups]. Throws Error if a zero-point is not whole, or needs more bits than a code.
at::Tensor whole_zeros(const weights::AffineWeight& weight);

// i32 [in]: the group of each column of the weight.
at::Tensor group_indices(const weights::AffineWeight& weight);

// The settings that most of the modules have; and names, by their settings, of those that have others.
struct SharedSettings {
  weights::AffineWeight standard;  // an outline
  std::vector<std::pair<weights::AffineWeight, std::vector<std::string>>> others;
};
SharedSettings shared_settings(std::span<const QuantizedModule> modules, std::string_view format);

}  // namespace normtweak::formats
