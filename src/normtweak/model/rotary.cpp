#include "normtweak/model/rotary.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <numbers>

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

at::Tensor scale(const at::Tensor& frequencies, const RotaryScaling& scaling) {
  switch (scaling.kind) {
    case RotaryScaling::Kind::none:
      return frequencies;
    case RotaryScaling::Kind::linear:
      return frequencies / scaling.factor;
    case RotaryScaling::Kind::llama3:
      return scale_llama3(frequencies, scaling);
  }
  return frequencies;
}

// [samples, tokens, heads, head_size] with cosine and sine [tokens, 1, head_size / 2]. Each half is a product plus
// another product, computed in F32 and rounded on writing.
at::Tensor turn(const at::Tensor& heads, const at::Tensor& cosine, const at::Tensor& sine, double direction) {
  const auto half = heads.size(-1) / 2;
  const auto first = heads.narrow(-1, 0, half), second = heads.narrow(-1, half, half);
  auto turned = at::empty(heads.sizes(), heads.options());
  auto turned_first = turned.narrow(-1, 0, half), turned_second = turned.narrow(-1, half, half);
  at::addcmul_out(turned_first, first * cosine, second, sine, -direction);
  at::addcmul_out(turned_second, second * cosine, first, sine, direction);
  return turned;
}

// The gradient of a rotation is the inverse rotation; only the table is saved.
struct Rotation : torch::autograd::Function<Rotation> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& heads,
                            const at::Tensor& cosine, const at::Tensor& sine) {
    context->save_for_backward({cosine, sine});
    return turn(heads, cosine, sine, 1);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    return {turn(gradients[0], saved[0], saved[1], -1), {}, {}};
  }
};

}  // namespace

RotaryTable make_rotary_table(const ModelConfig& config, std::int64_t positions, c10::Device device) {
  const auto options = at::TensorOptions(at::kFloat);
  const auto exponents = at::arange(0, config.head_size, 2, options) / static_cast<double>(config.head_size);
  const auto frequencies = scale(at::pow(config.rotary_base, exponents).reciprocal(), config.rotary_scaling);
  const auto angles = at::arange(positions, options).unsqueeze(1) * frequencies.unsqueeze(0);
  return {angles.cos().to(device), angles.sin().to(device)};
}

const RotaryTable& GrowingRotaryTable::up_to(std::int64_t positions) const {
  constexpr std::int64_t kFewest = 2048;
  const auto held = table_.cosine.defined() ? table_.cosine.size(0) : 0;
  if (held < positions) {
    const c10::InferenceMode no_inference(false);  // the same table is used with and without gradients
    table_ = make_rotary_table(config_, std::max({positions, 2 * held, kFewest}), device_);
  }
  return table_;
}

at::Tensor rotate(const at::Tensor& heads, const RotaryTable& table, std::int64_t start) {
  const auto tokens = heads.size(1);
  return Rotation::apply(heads, table.cosine.narrow(0, start, tokens).unsqueeze(1),
                         table.sine.narrow(0, start, tokens).unsqueeze(1));
}

}  // namespace normtweak::model
