#include "normtweak/model/finite_outputs.h"

#include <ATen/core/grad_mode.h>

#include "normtweak/base/device/device.h"
#include "normtweak/base/device/finite.h"
#include "normtweak/base/error.h"

namespace normtweak::model {
namespace {

std::string first_not_finite(const Decoder& decoder, const at::Tensor& ids) {
  const auto context = block_context(decoder);
  auto hidden = embed(decoder, ids);
  if (!all_finite(hidden)) return "the embedding";
  for (int i = 0; i < decoder.blocks.size(); ++i) {
    hidden = forward(*decoder.blocks.get(i), hidden, context);
    if (!all_finite(hidden)) return fmt::format("block {}", i);
  }
  return all_finite(forward(decoder.final_norm, hidden, decoder.type)) ? "the head" : "the final norm";
}

}  // namespace

std::string about_overflow(at::ScalarType type) {
  if (type == at::kFloat) return "the model is damaged, or its numbers overflow even in float32";
  return fmt::format("the model is damaged, or its numbers overflow in {}; try --dtype f32", float_type_name(type));
}

void fail_where_not_finite(const Decoder& decoder, const at::Tensor& ids, std::string_view whose) {
  const c10::NoGradGuard no_gradients;
  fail("{}: {}{}{}: its output is not finite; {}", decoder.origin, whose, whose.empty() ? "" : ", ",
       first_not_finite(decoder, ids.to(decoder.device)), about_overflow(decoder.type));
}

}  // namespace normtweak::model
