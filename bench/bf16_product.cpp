// Products of bf16 matrices with F32 sums on a CPU with AMX, beside the same in F32, as a Hessian's sum takes them:
// GFLOP/s, and the error against F64.
//
//     cmake --build build --target bench_bf16_product && build/bench_bf16_product
#include "normtweak/base/device/bf16_product.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>
#include <string>
#include <utility>

#include "normtweak/base/device/matrix_product.h"

namespace normtweak {
namespace {

constexpr int kRepeats = 10;

// The best of some runs.
template <class Work>
double seconds_of(const Work& work) {
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kRepeats; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return best;
}

// Two cells: GFLOP/s of `add`, and the error of its sum.
template <class Add>
std::string measured(const at::Tensor& wanted, double operations, const Add& add) {
  const auto sum = at::zeros(wanted.sizes());
  add(sum);
  const double error = ((sum - wanted).norm() / wanted.norm()).template item<double>();
  return fmt::format(" {:.0f} | {:.1e} |", operations / seconds_of([&] { add(sum); }) / 1e9, error);
}

void print_row(std::int64_t tokens, std::int64_t left_columns, std::int64_t right_columns) {
  const auto left = at::randn({tokens, left_columns}).to(at::kBFloat16),
             right = at::randn({tokens, right_columns}).to(at::kBFloat16);
  const auto wanted = at::matmul(left.to(at::kDouble).t(), right.to(at::kDouble));
  const double operations = 2.0 * static_cast<double>(tokens * left_columns * right_columns);
  fmt::print(
      "| {} × {} × {} |{}{}\n", left_columns, tokens, right_columns,
      measured(wanted, operations,
               [&](const at::Tensor& sum) {
                 add_matmul_transposed(sum, left.to(at::kFloat).t(), right.to(at::kFloat).t());
               }),
      measured(wanted, operations, [&](const at::Tensor& sum) { add_matmul_transposed(sum, left.t(), right.t()); }));
}

int run() {
  if (!has_bf16_products()) {
    fmt::print("no AMX here, or no MKL in this torch\n");
    return 1;
  }
  fmt::print(
      "{} threads\n\n| columns × tokens × columns | F32, GFLOP/s | error | bf16, GFLOP/s | error |\n|-|-|-|-|-|\n",
      at::get_num_threads());
  for (const std::int64_t tokens : {1024, 4096}) {
    for (const auto& [left, right] :
         std::array<std::pair<std::int64_t, std::int64_t>, 3>{{{576, 576}, {576, 1536}, {1536, 1536}}}) {
      print_row(tokens, left, right);
    }
  }
  return 0;
}

}  // namespace
}  // namespace normtweak

int main() { return normtweak::run(); }
