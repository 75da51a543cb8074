#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <limits>

#include "normtweak/base/device/device.h"
#include "normtweak/base/error.h"
#include "normtweak/quantize/rtn.h"
#include "oracle.h"
#include "support/devices.h"

namespace normtweak::quantize {
namespace {

AffineOptions options_of(const Json& facts) {
  return {.bits = facts.at("bits"),
          .group_size = facts.at("group"),
          .symmetric = facts.at("symmetric"),
          .float_zeros = facts.at("float_zeros"),
          .search_grid = facts.at("search"),
          .scale_type = parse_float_type(facts.at("scale_type").get<std::string>())};
}

// The share of rows whose scales differ from the oracle's is bounded, not 0, for the search only: two steps of it may
// tie to the last digit of the sum of errors. Elsewhere every operation is rounded the same way.
TEST(Rtn, EqualsNumPy) {
  const auto weight = test::oracle_array("rtn_weight");
  for (const auto& device : test::devices()) {
    for (const auto& facts : test::oracle_cases("rtn")) {
      const auto name = facts.at("name").get<std::string>();
      SCOPED_TRACE(name + " on " + device.str());
      const auto options = options_of(facts);
      const auto result = quantize_rtn(weight.to(device), options);
      const auto same = [&](const at::Tensor& found, const char* part) {
        return found.cpu().eq(test::oracle_array(name + part)).to(at::kFloat).mean().item<float>();
      };
      const auto least = options.search_grid ? 0.99F : 1.0F;
      EXPECT_GE(same(result.scales, "_scales"), least);
      EXPECT_GE(same(result.zeros, "_zeros"), least);
      EXPECT_GE(same(result.codes, "_codes"), least);
      EXPECT_EQ(result.float_zeros, options.float_zeros);
      const auto values = weights::dequantize(result).cpu(), expected = test::oracle_array(name + "_values");
      const auto close = values.isclose(expected, 1e-6, 1e-6).to(at::kFloat).mean().item<float>();
      EXPECT_GE(close, least);
    }
  }
}

TEST(Rtn, KeepsZeroExactly) {
  auto weight = at::ones({2, 8}) * 0.7;
  weight.select(1, 3).zero_();
  const auto result = quantize_rtn(weight, {.bits = 2, .group_size = 4});
  EXPECT_EQ(weights::dequantize(result).select(1, 3).abs().max().item<float>(), 0);
}

struct Refusal {
  const char* name;
  at::Tensor weight;
  AffineOptions options;
  const char* message;  // a part of it
};

TEST(Rtn, RefusesWhatItCannotDo) {
  const auto nan = at::full({2, 8}, std::numeric_limits<float>::quiet_NaN());
  const Refusal refusals[] = {
      {"five bits", at::ones({2, 8}), {.bits = 5, .group_size = 0}, "5 bits"},
      {"group that does not divide", at::ones({2, 8}), {.group_size = 3}, "3 does not divide the 8 input columns"},
      {"negative group", at::ones({2, 8}), {.group_size = -1}, "does not divide"},
      {"NaN", nan, {.group_size = 0}, "NaN"},
      {"a vector", at::ones({8}), {.group_size = 0}, "matrix"},
      {"half precision", at::ones({2, 8}, at::kHalf), {.group_size = 0}, "f32"},
      {"too large for F16 scales", at::full({2, 8}, 1e7F), {.group_size = 0}, "too large"},
      {"a type that is no float", at::ones({2, 8}), {.group_size = 0, .scale_type = at::kInt}, "cannot be stored"},
  };
  for (const auto& refusal : refusals) {
    SCOPED_TRACE(refusal.name);
    try {
      quantize_rtn(refusal.weight, refusal.options);
      ADD_FAILURE() << "nothing thrown";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(refusal.message), std::string::npos) << error.what();
    }
  }
  EXPECT_NO_THROW(quantize_rtn(at::full({2, 8}, 1e7F), {.group_size = 0, .scale_type = at::kBFloat16}));
}

}  // namespace
}  // namespace normtweak::quantize
