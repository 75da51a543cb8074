#include "normtweak/model/rotary.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>

#include "normtweak/model/rotary_kernel.h"

namespace normtweak::model {
namespace {

// Frequencies with wavelengths longer than the original context are divided by `factor`, those with short ones are
// unchanged, and those in between are interpolated smoothly.
at::Tensor scale_llama3(const at::Tensor& frequencies, const RotaryScaling& scaling) {
  const auto wavelengths = 2 * std::numbers::pi / frequencies;
  const auto share = ((scaling.original_context / wavelengths - scaling.low_frequency) /
                      (scaling.high_frequency - scaling.low_frequency))
                         .clamp(0, 1);
  return frequencies * share + frequencies / scaling.factor * (1 - share);
}

// The base grows with the length beyond the original context, so that the slowest frequency turns as far as it did
// there (modeling_rope_utils.py calls it dynamic NTK).
double dynamic_base(const Rotary& rotary, std::int64_t length) {
  const auto& scaling = rotary.scaling;
  const auto size = static_cast<double>(rotary.size);
  const auto tokens = std::max(static_cast<double>(length), scaling.original_context);
  return rotary.base *
         std::pow(scaling.factor * tokens / scaling.original_context - (scaling.factor - 1), size / (size - 2));
}

// arXiv 2309.00071: fast frequencies stay, slow ones are divided by the factor, with a linear ramp over the channels in
// between.
at::Tensor scale_yarn(const at::Tensor& frequencies, const Rotary& rotary) {
  const auto& scaling = rotary.scaling;
  const auto size = static_cast<double>(rotary.size);
  const auto channel_of = [&](double turns) {
    return size * std::log(scaling.original_context / (turns * 2 * std::numbers::pi)) / (2 * std::log(rotary.base));
  };
  double low = channel_of(scaling.beta_fast), high = channel_of(scaling.beta_slow);
  if (scaling.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, size - 1);
  if (low == high) high += 0.001;  // no division by zero
  const auto ramp = ((at::arange(frequencies.numel(), frequencies.options()) - low) / (high - low)).clamp(0, 1);
  return frequencies / scaling.factor * ramp + frequencies * (1 - ramp);
}

at::Tensor scale_longrope(const at::Tensor& frequencies, const RotaryScaling& scaling, std::int64_t length) {
  const bool is_long = static_cast<double>(length) > scaling.original_context;
  return frequencies / at::tensor(is_long ? scaling.long_factors : scaling.short_factors, frequencies.options());
}

// The first and the second channel of each pair, [..., pairs].
std::pair<at::Tensor, at::Tensor> pairs(const at::Tensor& heads, std::int64_t count, bool interleaved) {
  if (interleaved) return {heads.slice(-1, 0, 2 * count, 2), heads.slice(-1, 1, 2 * count, 2)};
  return {heads.narrow(-1, 0, count), heads.narrow(-1, count, count)};
}

// [samples, tokens, heads, head_size] with cosine and sine [tokens, 1, pairs]. Each half is a product plus another
// product, computed in F32 and rounded on writing.
at::Tensor turn(const at::Tensor& heads, const at::Tensor& cosine, const at::Tensor& sine, bool interleaved,
                double direction) {
  if (has_rotary_kernel(heads, cosine, interleaved)) return turn_on_gpu(heads, cosine, sine, direction);
  const auto count = cosine.size(-1), rest = heads.size(-1) - 2 * count;
  auto turned = at::empty(heads.sizes(), heads.options());
  const auto [first, second] = pairs(heads, count, interleaved);
  auto [turned_first, turned_second] = pairs(turned, count, interleaved);
  at::addcmul_out(turned_first, first * cosine, second, sine, -direction);
  at::addcmul_out(turned_second, second * cosine, first, sine, direction);
  if (rest > 0) turned.narrow(-1, 2 * count, rest).copy_(heads.narrow(-1, 2 * count, rest));
  return turned;
}

// The gradient of a rotation is the inverse rotation; only the table is saved.
struct Rotation : torch::autograd::Function<Rotation> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& heads,
                            const at::Tensor& cosine, const at::Tensor& sine, bool interleaved) {
    context->save_for_backward({cosine, sine});
    context->saved_data["interleaved"] = interleaved;
    return turn(heads, cosine, sine, interleaved, 1);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    return {turn(gradients[0], saved[0], saved[1], context->saved_data["interleaved"].toBool(), -1), {}, {}, {}};
  }
};

}  // namespace

at::Tensor rotary_frequencies(const Rotary& rotary, std::int64_t length) {
  const auto& scaling = rotary.scaling;
  const auto base = scaling.kind == RotaryScaling::Kind::dynamic ? dynamic_base(rotary, length) : rotary.base;
  const auto exponents =
      at::arange(0, rotary.size, 2, at::TensorOptions(at::kFloat)) / static_cast<double>(rotary.size);
  const auto frequencies = at::pow(base, exponents).reciprocal();
  switch (scaling.kind) {
    case RotaryScaling::Kind::none:
    case RotaryScaling::Kind::dynamic:
      break;
    case RotaryScaling::Kind::linear:
      return frequencies / scaling.factor;
    case RotaryScaling::Kind::llama3:
      return scale_llama3(frequencies, scaling);
    case RotaryScaling::Kind::yarn:
      return scale_yarn(frequencies, rotary);
    case RotaryScaling::Kind::longrope:
      return scale_longrope(frequencies, scaling, length);
  }
  return frequencies;
}

RotaryTable make_rotary_table(const Rotary& rotary, std::int64_t length, std::int64_t positions, c10::Device device) {
  const auto frequencies = rotary_frequencies(rotary, length);
  const auto angles = at::arange(positions, frequencies.options()).unsqueeze(1) * frequencies.unsqueeze(0);
  auto cosine = angles.cos(), sine = angles.sin();
  if (const auto factor = rotary.scaling.attention_factor; factor != 1) {
    cosine.mul_(factor);
    sine.mul_(factor);
  }
  return {cosine.to(device), sine.to(device), rotary.interleaved};
}

std::int64_t GrowingRotaryTable::standing_for(std::int64_t length) const {
  const auto& scaling = rotary_.scaling;
  const bool is_long = static_cast<double>(length) > scaling.original_context;
  if (scaling.kind == RotaryScaling::Kind::dynamic && is_long) return length;
  if (scaling.kind == RotaryScaling::Kind::longrope && is_long) return std::numeric_limits<std::int64_t>::max();
  return 1;
}

bool GrowingRotaryTable::are_alike(std::int64_t length, std::int64_t other) const {
  return standing_for(length) == standing_for(other);
}

const RotaryTable& GrowingRotaryTable::for_length(std::int64_t length) const {
  constexpr std::int64_t kFewest = 2048;
  const auto wanted = standing_for(length);
  const auto held = table_.cosine.defined() && wanted == length_ ? table_.cosine.size(0) : 0;
  if (held < length) {
    const c10::InferenceMode no_inference(false);  // the same table is used with and without gradients
    table_ = make_rotary_table(rotary_, wanted, std::max({length, 2 * held, kFewest}), device_);
    length_ = wanted;
  }
  return table_;
}

at::Tensor rotate(const at::Tensor& heads, const RotaryTable& table, std::int64_t start) {
  const auto tokens = heads.size(1);
  return Rotation::apply(heads, table.cosine.narrow(0, start, tokens).unsqueeze(1),
                         table.sine.narrow(0, start, tokens).unsqueeze(1), table.interleaved);
}

}  // namespace normtweak::model
