#include <ATen/TensorOperators.h>
#include <ATen/ops/fake_quantize_per_tensor_affine.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <utility>

#include "normtweak/model/linear.h"
#include "support/explicit_model.h"
#include "support/tiny_decoder.h"

namespace normtweak::model {
namespace {

struct LinearCase {
  const char* name;
  tests::Weights weights;
  at::ScalarType type;
  double tolerance;  // F32 sums of 40 terms; in bf16 x, W and y are rounded to 8 bits, their errors add up
};
const LinearCase kCases[] = {
    {"float", tests::Weights::floats, at::kFloat, 2e-6},
    {"affine in groups", tests::Weights::groups, at::kFloat, 2e-6},
    {"affine per channel", tests::Weights::channels, at::kFloat, 2e-6},
    {"codebook", tests::Weights::codebook, at::kFloat, 2e-6},
    {"codebooks of groups", tests::Weights::codebooks_of_groups, at::kFloat, 2e-6},
    {"blocks", tests::Weights::blocks, at::kFloat, 2e-6},
    {"nested blocks", tests::Weights::nested, at::kFloat, 2e-6},
    {"nested blocks in bf16", tests::Weights::nested, at::kBFloat16, 2e-2},
    {"affine in bf16", tests::Weights::groups, at::kBFloat16, 2e-2},
    {"codebook in bf16", tests::Weights::codebook, at::kBFloat16, 2e-2},
};

// The tensors of a linear that may be tuned, as leaves of type `type`.
std::vector<at::Tensor> make_leaves(Linear& linear, at::ScalarType type) {
  std::vector<at::Tensor*> fields;
  if (linear.bias.defined()) fields.push_back(&linear.bias);
  if (auto* affine = std::get_if<weights::AffineWeight>(&linear.weight)) {
    fields.insert(fields.end(), {&affine->scales, &affine->zeros});
  } else if (auto* table = std::get_if<weights::CodebookWeight>(&linear.weight)) {
    fields.push_back(&table->codebook);
  } else if (auto* blocks = std::get_if<weights::BlockWeight>(&linear.weight)) {
    fields.push_back(&blocks->scales);
    if (blocks->minima.defined()) fields.push_back(&blocks->minima);
  }
  std::vector<at::Tensor> leaves;
  for (auto* field : fields) leaves.push_back(*field = field->detach().to(type).clone().requires_grad_());
  return leaves;
}

TEST(Linear, GradientsAreThoseOfTheExplicitProduct) {
  for (const auto& row : kCases) {
    SCOPED_TRACE(row.name);
    Linear linear = {"linear", tests::quantized(at::randn({12, 40}), row.weights), at::randn({12})};
    auto exact = linear;
    const auto x = at::randn({3, 5, 40}).to(row.type).requires_grad_();
    const auto exact_x = x.detach().to(at::kDouble).requires_grad_();
    const auto leaves = make_leaves(linear, at::kFloat), exact_leaves = make_leaves(exact, at::kDouble);

    const auto y = forward(linear, x);
    const auto exact_y = at::matmul(exact_x, tests::explicit_weight(exact.weight).t()) + exact.bias;
    EXPECT_EQ(y.scalar_type(), row.type);
    EXPECT_LT(tests::relative_error(y, exact_y), row.tolerance);

    const auto direction = at::randn({3, 5, 12}).to(row.type);
    y.backward(direction);
    exact_y.backward(direction.to(at::kDouble));
    EXPECT_LT(tests::relative_error(x.grad(), exact_x.grad()), row.tolerance);
    for (std::size_t i = 0; i < leaves.size(); ++i) {
      EXPECT_EQ(leaves[i].grad().scalar_type(), at::kFloat);
      EXPECT_LT(tests::relative_error(leaves[i].grad(), exact_leaves[i].grad()), row.tolerance) << "leaf " << i;
    }
  }
}

TEST(Linear, RoundedInputsPassGradientsOnWithinTheirRange) {
  constexpr double kScale = 0.0625;  // a power of two, of which PyTorch's reciprocal is exact
  // A weight is float while it is trained.
  for (const auto& [dynamic, weights_kind] : {std::pair(false, tests::Weights::groups),
                                              {true, tests::Weights::groups},
                                              {false, tests::Weights::floats},
                                              {true, tests::Weights::floats}}) {
    Linear linear = {.name = "linear", .weight = tests::quantized(at::randn({12, 40}), weights_kind)};
    auto exact = linear;
    linear.input_quantizer = {.settings = {.bits = 4, .dynamic = dynamic}, .scale = kScale};
    const auto leaves = make_leaves(linear, at::kFloat), exact_leaves = make_leaves(exact, at::kDouble);
    const auto x = at::randn({3, 5, 40}).requires_grad_(), exact_x = x.detach().clone().requires_grad_();
    // As if rounding were the identity: the gradient of PyTorch, or where each token has its own range, that of a sum.
    const auto rounded = dynamic ? exact_x + (weights::round_activations(*linear.input_quantizer, x) - exact_x).detach()
                                 : at::fake_quantize_per_tensor_affine(exact_x, kScale, 0, -8, 7);
    const auto y = forward(linear, x);
    const auto exact_y = at::matmul(rounded.to(at::kDouble), tests::explicit_weight(exact.weight).t());
    EXPECT_LT(tests::relative_error(y, exact_y), 2e-6);

    const auto direction = at::randn({3, 5, 12});
    y.backward(direction);
    exact_y.backward(direction.to(at::kDouble));
    EXPECT_LT(tests::relative_error(x.grad(), exact_x.grad()), 2e-6);
    EXPECT_EQ(x.grad().eq(0).any().item<bool>(), !dynamic);
    for (std::size_t i = 0; i < leaves.size(); ++i) {
      EXPECT_LT(tests::relative_error(leaves[i].grad(), exact_leaves[i].grad()), 2e-6) << "leaf " << i;
    }
  }
}

TEST(Linear, OnlyWhatIsAskedForGetsAGradient) {
  Linear linear = {"linear", tests::quantized(at::randn({6, 16}), tests::Weights::groups), {}};
  auto& affine = std::get<weights::AffineWeight>(linear.weight);
  affine.zeros.requires_grad_();
  const auto x = at::randn({4, 16});
  forward(linear, x).sum().backward();
  EXPECT_TRUE(affine.zeros.grad().defined());
  EXPECT_FALSE(affine.scales.grad().defined());
  EXPECT_FALSE(x.grad().defined());
  affine.zeros = affine.zeros.detach();
  EXPECT_FALSE(forward(linear, x).requires_grad());
}

}  // namespace
}  // namespace normtweak::model
