#include "normtweak/model/finite_outputs.h"

#include <ATen/core/grad_mode.h>

#include "normtweak/base/device/device.h"
#include "normtweak/base/device/finite.h"
#include "normtweak/base/error.h"
#include "normtweak/model/forward_pass.h"

namespace normtweak::model {
namespace {

std::string first_not_finite(const Decoder& decoder, const at::Tensor& ids, const BranchedRows* branches) {
  std::string found;
  const auto look = [&](int block, const at::Tensor& input) {
    if (found.empty() && !all_finite(input)) found = block == 0 ? "the embedding" : fmt::format("block {}", block - 1);
    return input;
  };
  const auto hidden = through_blocks(decoder, ids, {.branches = branches, .see = look});
  look(decoder.blocks.size(), hidden);
  if (!found.empty()) return found;
  return all_finite(finish(decoder, decoder.final_norm, hidden)) ? "the head" : "the final norm";
}

}  // namespace

std::string about_overflow(at::ScalarType type) {
  if (type == at::kFloat) return "the model is damaged, or its numbers overflow even in float32";
  return fmt::format("the model is damaged, or its numbers overflow in {}; try --dtype f32", float_type_name(type));
}

void fail_where_not_finite(const Decoder& decoder, const at::Tensor& ids, std::string_view whose,
                           const BranchedRows* branches) {
  const c10::NoGradGuard no_gradients;
  fail("{}: {}{}{}: its output is not finite; {}", decoder.origin, whose, whose.empty() ? "" : ", ",
       first_not_finite(decoder, ids.to(decoder.device), branches), about_overflow(decoder.type));
}

}  // namespace normtweak::model
