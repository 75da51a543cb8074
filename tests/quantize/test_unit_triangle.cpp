#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_solve_triangular.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <string>

#include "normtweak/quantize/unit_triangle.h"
#include "support/devices.h"

namespace normtweak::quantize {
namespace {

// Against LAPACK in F64, for sizes around a block's.
TEST(UnitTriangle, IsSolvedByBlocksAsLapackDoes) {
  for (const auto device : test::devices()) {
    for (const std::int64_t columns : {3, 512, 513, 1100}) {
      SCOPED_TRACE(device.str() + ", " + std::to_string(columns));
      const auto exact = at::randn({columns, columns}, at::kDouble).mul_(0.03).triu_(1) + at::eye(columns, at::kDouble);
      const auto right = at::randn({5, columns}, at::kDouble);
      const auto upper = exact.to(device, at::kFloat), wanted = right.to(device, at::kFloat);
      const auto solved = [&](const at::Tensor& matrix, bool is_upper) {
        return at::linalg_solve_triangular(matrix, right, is_upper, /*left=*/false, /*unitriangular=*/true);
      };
      const auto inverses = inverse_blocks(upper);
      const auto check = [](const at::Tensor& found, const at::Tensor& expected) {
        EXPECT_LT((found.cpu().to(at::kDouble) - expected).norm().item<double>() / expected.norm().item<double>(),
                  1e-5);
      };
      check(solve_upper(wanted, upper, inverses), solved(exact, true));
      check(solve_transposed(wanted, upper, inverses), solved(exact.t(), false));
    }
  }
}

}  // namespace
}  // namespace normtweak::quantize
