#include "normtweak/base/device/matrix_product.h"

#include <ATen/Context.h>
#include <ATen/core/List.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>

#include <optional>
#include <string_view>

#include "normtweak/base/device/bf16_product.h"
#include "normtweak/base/device/device.h"
#include "normtweak/base/device/packed_weights.h"
#include "normtweak/base/device/torch_operator.h"

namespace normtweak {
namespace {

// oneDNN reorders a transposed weight on every call, which pays off from this many rows.
constexpr std::int64_t kRowsForTransposed = 64;

using OneDnnLinear = at::Tensor(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                                std::string_view after, c10::List<std::optional<at::Scalar>> scalars,
                                std::optional<std::string_view> algorithm);

// nullopt if oneDNN is not to be used, or if this torch version lacks the operator.
std::optional<c10::TypedOperatorHandle<OneDnnLinear>> find_onednn_linear() {
  if (!at::hasMKLDNN() || !is_amd_cpu()) return std::nullopt;
  return find_operator<OneDnnLinear>("mkldnn::_linear_pointwise");
}

bool suits_onednn(const at::Tensor& x, const at::Tensor& weight) {
  if (!x.is_cpu() || x.scalar_type() != at::kFloat || weight.scalar_type() != at::kFloat) return false;
  const bool needs_gradient = at::GradMode::is_enabled() && (x.requires_grad() || weight.requires_grad());
  return !needs_gradient && (weight.is_contiguous() || x.numel() >= kRowsForTransposed * x.size(-1));
}

// Undefined if oneDNN is not to be used.
at::Tensor product_in_onednn(const at::Tensor& x, const at::Tensor& weight) {
  static const auto onednn = find_onednn_linear();
  if (!onednn || !suits_onednn(x, weight)) return {};
  return onednn->call(x, weight, std::nullopt, "none", c10::List<std::optional<at::Scalar>>(), "");
}

}  // namespace

at::Tensor matmul_transposed(const at::Tensor& x, const at::Tensor& weight) {
  if (auto product = PackedWeights::product(x, weight); product.defined()) return product;
  auto product = product_in_onednn(x, weight);
  return product.defined() ? product : at::linear(x, weight);
}

at::Tensor wide_matmul_transposed(const at::Tensor& x, const at::Tensor& weight) {
  if (x.is_cuda() && x.scalar_type() != at::kFloat) return at::mm(x, weight.t(), at::kFloat);
  auto product = bf16_product(x, weight);
  return product.defined() ? product : matmul_transposed(x, weight);
}

void add_matmul_transposed(const at::Tensor& sum, const at::Tensor& x, const at::Tensor& weight) {
  if (sum.scalar_type() == at::kFloat && x.scalar_type() == at::kBFloat16) {
    if (add_bf16_product(sum, x, weight)) return;
    return add_matmul_transposed(sum, x.to(at::kFloat), weight.to(at::kFloat));
  }
  const auto product = product_in_onednn(x, weight);
  product.defined() ? sum.add_(product) : sum.addmm_(x, weight.t());
}

}  // namespace normtweak
