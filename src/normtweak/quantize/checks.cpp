#include "normtweak/quantize/checks.h"

#include <ATen/ops/isfinite.h>

#include <algorithm>
#include <array>

#include "normtweak/base/device/finite.h"
#include "normtweak/base/device/type_name.h"
#include "normtweak/base/error.h"

namespace normtweak::quantize {

void check_weight(const at::Tensor& weight) {
  if (!weight.defined() || weight.dim() != 2 || weight.scalar_type() != at::kFloat || weight.numel() == 0) {
    fail("the weight must be an f32 matrix [out, in] that is not empty; found {}",
         weight.defined() ? fmt::format("{} {}", type_name(weight.scalar_type()), c10::str(weight.sizes()))
                          : "no tensor");
  }
  check_finite(weight, "the weight");
}

void check_finite(const at::Tensor& tensor, std::string_view what) {
  if (all_finite(tensor)) return;
  fail("{} holds NaN or infinity ({} of {} values); the checkpoint or the calibration pass is broken", what,
       tensor.isfinite().logical_not().sum().item<std::int64_t>(), tensor.numel());
}

void check_bits(int bits) {
  constexpr std::array kWidths = {2, 3, 4, 6, 8};
  if (std::find(kWidths.begin(), kWidths.end(), bits) == kWidths.end()) fail("{} bits: use 2, 3, 4, 6 or 8", bits);
}

void check_scale_type(at::ScalarType type) {
  if (type == at::kHalf || type == at::kBFloat16 || type == at::kFloat) return;
  fail("scales cannot be stored as {}; use float16, bfloat16 or float32", type_name(type));
}

std::int64_t resolve_group_size(int group_size, std::int64_t in, std::string_view shared) {
  if (group_size == 0) return in;
  if (group_size < 0 || in % group_size != 0) {
    std::int64_t divisor = 128;
    while (in % divisor != 0) divisor /= 2;
    fail(
        "group size {} does not divide the {} input columns; use a divisor such as {}, or 0 for one {} per output "
        "channel",
        group_size, in, divisor, shared);
  }
  return group_size;
}

}  // namespace normtweak::quantize
