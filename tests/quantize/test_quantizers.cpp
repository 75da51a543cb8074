#include <ATen/ops/eye.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include "normtweak/base/error.h"
#include "normtweak/quantize/quantizers.h"

namespace normtweak::quantize {
namespace {

TEST(Quantizers, AllRowsRun) {
  const auto weight = at::randn({8, 64}), hessian = at::eye(64);
  for (const auto& quantizer : quantizers()) {
    SCOPED_TRACE(quantizer.name);
    const LinearPlan plan = {.method = std::string(quantizer.name), .bits = 8, .group_size = 32, .sensitivity = true};
    check_plan(plan, weight.sizes(), "linear");
    const auto quantized = quantizer.quantize(weight, hessian, plan);
    EXPECT_TRUE(weights::is_quantized(quantized));
    // Of e4m3, three bits of a value's fraction are stored.
    EXPECT_TRUE(weights::dequantize(quantized).allclose(weight, quantizer.gives_float8 ? 1.0 / 16 : 0, 0.05));
  }
}

TEST(Quantizers, TakeBlockTypes) {
  const auto weight = at::randn({8, 256}), hessian = at::eye(256);
  for (const auto* method : {"rtn", "gptq"}) {
    const LinearPlan plan = {.method = method, .block_type = "Q6_K"};
    const auto quantized = find_quantizer(method).quantize(weight, hessian, plan);
    EXPECT_EQ(weights::describe(quantized).name, "Q6_K") << method;
    EXPECT_EQ(weights::bits_per_weight(quantized), 6.5625) << method;
    EXPECT_TRUE(weights::dequantize(quantized).allclose(weight, 0, 0.2)) << method;
  }
  EXPECT_EQ(resolved_options({.block_type = "Q6_K"}).act_order, false);
  EXPECT_EQ(resolved_options({.block_type = "Q6_K", .act_order = true}).act_order, true);
}

TEST(Quantizers, KnowWhoNeedsTheHessian) {
  EXPECT_TRUE(needs_hessian({.method = "gptq"}));
  EXPECT_FALSE(needs_hessian({.method = "rtn", .sensitivity = true}));
  EXPECT_FALSE(needs_hessian({.method = "kmeans"}));
  EXPECT_TRUE(needs_hessian({.method = "kmeans", .sensitivity = true}));
  EXPECT_TRUE(needs_hessian({.method = "kmeans", .feedback = true}));
  const auto weight = at::randn({8, 64});
  EXPECT_THROW(find_quantizer("gptq").quantize(weight, {}, {.group_size = 32}), Error);
  EXPECT_THROW(find_quantizer("kmeans").quantize(weight, {}, {.sensitivity = true}), Error);
  EXPECT_THROW(find_quantizer("kmeans").quantize(weight, {}, {.method = "kmeans", .feedback = true}), Error);
}

struct PlanCase {
  const char* name;
  LinearPlan plan;
  const char* message;  // a part of it; empty: the plan is good
};

TEST(Quantizers, PlansAreCheckedAgainstShapes) {
  const PlanCase cases[] = {
      {"fits", {.group_size = 64}, ""},
      {"per channel", {.group_size = 0}, ""},
      {"kmeans has no groups", {.method = "kmeans", .group_size = 100}, ""},
      {"group",
       {.group_size = 128},
       "model.layers.0.mlp.up_proj [1536, 576]: group size 128 does not divide the 576 input columns; use a divisor "
       "such as 64"},
      {"bits", {.bits = 5, .group_size = 64}, "5 bits"},
      {"method", {.method = "magic", .group_size = 64}, "rtn, gptq, signround, kmeans"},
      {"damping", {.group_size = 64, .damping = -1}, "damping"},
      {"no zeros to store", {.group_size = 64, .symmetric = true, .float_zeros = true}, "no zero-points"},
      {"blocks", {.block_type = "Q4_0", .group_size = 100}, ""},
      {"no whole blocks",
       {.block_type = "Q4_K"},
       "model.layers.0.mlp.up_proj [1536, 576]: 576 columns are no whole blocks of Q4_K, which have 256"},
      {"no such block type", {.block_type = "Q4_9"}, "there are Q4_0, Q4_1, Q5_0"},
      {"kmeans has no blocks", {.method = "kmeans", .block_type = "Q4_0"}, "kmeans does not quantize to block types"},
      {"scale type", {.group_size = 64, .scale_type = at::kDouble}, "float16"},
  };
  for (const auto& row : cases) {
    SCOPED_TRACE(row.name);
    std::string message;
    try {
      check_plan(row.plan, {1536, 576}, "model.layers.0.mlp.up_proj");
    } catch (const Error& error) {
      message = error.what();
    }
    EXPECT_EQ(message.empty(), std::string(row.message).empty()) << message;
    EXPECT_NE(message.find(row.message), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace normtweak::quantize
