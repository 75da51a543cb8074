// make_generator(): what is drawn depends on the seed alone.
#include <ATen/Context.h>
#include <ATen/ops/randint.h>
#include <gtest/gtest.h>

#include "normtweak/base/device/generator.h"

namespace normtweak {
namespace {

at::Tensor draw(const at::Generator& generator) {
  return at::randint(0, 1 << 20, {16}, generator, at::TensorOptions(at::kLong));
}

TEST(Generator, TheSeedDeterminesTheDraws) {
  const auto first = draw(make_generator(at::kCPU, 5));
  EXPECT_TRUE(draw(make_generator(at::kCPU, 5)).equal(first));
  EXPECT_FALSE(draw(make_generator(at::kCPU, 6)).equal(first));
}

TEST(Generator, OthersAreLeftAlone) {
  const auto default_one = at::globalContext().defaultGenerator(at::kCPU);
  const auto before = default_one.get_state();
  auto one = make_generator(at::kCPU, 5), other = make_generator(at::kCPU, 5);
  const auto expected = draw(other);
  draw(other);
  EXPECT_TRUE(draw(one).equal(expected));
  EXPECT_TRUE(default_one.get_state().equal(before));
}

}  // namespace
}  // namespace normtweak
