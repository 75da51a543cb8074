#include "normtweak/model/linear.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <array>
#include <utility>

#include "normtweak/base/device/matrix_product.h"

namespace normtweak::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// [..., n] → [tokens, n]
at::Tensor flat(const at::Tensor& x) { return x.reshape({-1, x.size(-1)}); }

// dL/dW, [out, in] in the type of x: one product over all tokens.
at::Tensor weight_gradient(const at::Tensor& output_gradient, const at::Tensor& x) {
  return matmul_transposed(flat(output_gradient).t(), flat(x).t());
}

using InputQuantizer = std::optional<weights::ActivationQuantizer>;

at::Tensor rounded(const at::Tensor& x, const InputQuantizer& quantizer) {
  return quantizer ? weights::round_activations(*quantizer, x) : x;
}

// An input that is rounded in front of a float weight, as a weight in training is. Rounding has a gradient of 1, and of
// 0 where a static range clips.
struct RoundedInput : Function<RoundedInput> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const InputQuantizer& quantizer) {
    if (!quantizer->settings.dynamic) context->save_for_backward({within_range(*quantizer, x)});
    return rounded(x, quantizer);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    return {saved.empty() ? gradients[0] : gradients[0] * saved[0], {}};
  }
};

// Carried from a forward pass to its backward pass.
struct HeldWeight : torch::CustomClassHolder {
  HeldWeight(weights::Weight held, InputQuantizer quantizer)
      : weight(std::move(held)), input_quantizer(std::move(quantizer)) {}
  weights::Weight weight;  // its floats are replaced by those that autograd saved, and knows not to have changed
  InputQuantizer input_quantizer;
};

// Of any quantized weight. In the place of floats beside its codes that it lacks is an empty tensor.
struct QuantizedLinear : Function<QuantizedLinear> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& first,
                            const at::Tensor& second, const weights::Weight& weight,
                            const InputQuantizer& input_quantizer) {
    context->save_for_backward({x, first, second});
    context->saved_data["weight"] = c10::IValue::make_capsule(c10::make_intrusive<HeldWeight>(weight, input_quantizer));
    return matmul_transposed(rounded(x, input_quantizer), values(weight, x.scalar_type()));
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const auto& x = saved[0];
    const auto held = c10::static_intrusive_pointer_cast<HeldWeight>(context->saved_data["weight"].toCapsule());
    auto weight = held->weight;
    const auto& input_quantizer = held->input_quantizer;
    const auto floats = weights::code_floats(weight);
    for (std::size_t i = 0; i < floats.size(); ++i) *floats[i].values = saved[i + 1];
    at::Tensor x_gradient, dequantized;
    if (context->needs_input_grad(0)) {
      dequantized = dequantize_for_gradients(weight, x.scalar_type());
      x_gradient = matmul_transposed(gradients[0], dequantized.t());
      if (input_quantizer && !input_quantizer->settings.dynamic) x_gradient.mul_(within_range(*input_quantizer, x));
    }
    std::vector<at::Tensor> of_floats(2);
    const std::vector<bool> wanted = {context->needs_input_grad(1), context->needs_input_grad(2)};
    if (wanted[0] || wanted[1]) {
      of_floats =
          code_float_gradients(weight, weight_gradient(gradients[0], rounded(x, input_quantizer)), wanted, dequantized);
      of_floats.resize(2);
    }
    return {x_gradient, of_floats[0], of_floats[1], {}, {}};
  }
};

at::Tensor product(const at::Tensor& x, const Linear& linear) {
  const auto& weight = linear.weight;
  if (const auto* floats = std::get_if<weights::FloatWeight>(&weight)) {
    const auto input = linear.input_quantizer ? RoundedInput::apply(x, linear.input_quantizer) : x;
    return matmul_transposed(input, floats->values.to(x.scalar_type()));
  }
  auto copy = weight;
  std::array<at::Tensor, 2> floats = {at::empty({0}), at::empty({0})};  // autograd takes no undefined ones
  std::size_t count = 0;
  for (const auto& found : weights::code_floats(copy)) floats.at(count++) = *found.values;
  return QuantizedLinear::apply(x, floats[0], floats[1], weight, linear.input_quantizer);
}

}  // namespace

at::Tensor values(const weights::Weight& weight, at::ScalarType type) { return weights::dequantize(weight, type); }

at::Tensor forward(const Linear& linear, const at::Tensor& x) {
  auto y = product(x, linear);
  return linear.bias.defined() ? y + linear.bias.to(y.scalar_type()) : y;
}

}  // namespace normtweak::model
