#include "normtweak/model/linear.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include "normtweak/base/device/matrix_product.h"
#include "normtweak/weights/group_kernels.h"

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

struct AffineLinear : Function<AffineLinear> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& scales,
                            const at::Tensor& zeros, const weights::AffineWeight& weight) {
    context->save_for_backward({x, weight.codes, scales, zeros});
    context->saved_data["bits"] = weight.bits;
    context->saved_data["group_size"] = weight.group_size;
    context->saved_data["float_zeros"] = weight.float_zeros;
    return matmul_transposed(x, values(weight, x.scalar_type()));
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    weights::AffineWeight weight;
    weight.codes = saved[1];
    weight.scales = saved[2];
    weight.zeros = saved[3];
    weight.bits = static_cast<int>(context->saved_data["bits"].toInt());
    weight.group_size = static_cast<int>(context->saved_data["group_size"].toInt());
    weight.float_zeros = context->saved_data["float_zeros"].toBool();
    const auto& x = saved[0];
    at::Tensor x_gradient, dequantized;
    weights::GroupGradients of_groups;
    if (context->needs_input_grad(0)) {
      dequantized = dequantize_for_gradients(weight, x.scalar_type());
      x_gradient = matmul_transposed(gradients[0], dequantized.t());
    }
    if (context->needs_input_grad(1) || context->needs_input_grad(2)) {
      of_groups = reduce_to_groups(weight_gradient(gradients[0], x), weight, context->needs_input_grad(2), dequantized);
    }
    return {x_gradient, of_groups.scales, of_groups.zeros, {}};
  }
};

struct CodebookLinear : Function<CodebookLinear> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& codebook,
                            const weights::CodebookWeight& weight) {
    context->save_for_backward({x, weight.codes, codebook});
    context->saved_data["bits"] = weight.bits;
    return matmul_transposed(x, values(weight, x.scalar_type()));
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    weights::CodebookWeight weight;
    weight.codes = saved[1];
    weight.codebook = saved[2];
    weight.bits = static_cast<int>(context->saved_data["bits"].toInt());
    const auto& x = saved[0];
    at::Tensor x_gradient, codebook_gradient;
    if (context->needs_input_grad(0)) x_gradient = matmul_transposed(gradients[0], values(weight, x.scalar_type()).t());
    if (context->needs_input_grad(1)) {
      codebook_gradient = at::zeros(weight.codebook.sizes(), weight.codebook.options());
      codebook_gradient.scatter_add_(1, weight.codes.to(at::kLong), weight_gradient(gradients[0], x).to(at::kFloat));
    }
    return {x_gradient, codebook_gradient, {}};
  }
};

at::Tensor product(const at::Tensor& x, const weights::FloatWeight& weight) {
  return matmul_transposed(x, weight.values.to(x.scalar_type()));
}
at::Tensor product(const at::Tensor& x, const weights::AffineWeight& weight) {
  return AffineLinear::apply(x, weight.scales, weight.zeros, weight);
}
at::Tensor product(const at::Tensor& x, const weights::CodebookWeight& weight) {
  return CodebookLinear::apply(x, weight.codebook, weight);
}

}  // namespace

at::Tensor values(const weights::Weight& weight, at::ScalarType type) { return weights::dequantize(weight, type); }

at::Tensor forward(const Linear& linear, const at::Tensor& x) {
  auto y = std::visit([&](const auto& weight) { return product(x, weight); }, linear.weight);
  return linear.bias.defined() ? y + linear.bias.to(y.scalar_type()) : y;
}

}  // namespace normtweak::model
