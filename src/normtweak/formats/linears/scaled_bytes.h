// Weights of one byte each, FP8 or integers, with a scale for each tile of the matrix: `weight` and a tensor of scales.
#pragma once
#include <array>

#include "normtweak/formats/linears/module_tensors.h"

namespace normtweak::formats {

struct ByteLayout {
  at::ScalarType type = at::kFloat8_e4m3fn;  // of `weight`; or i8
  // Rows and columns of a tile; 0: all of them. The shape of the scales decides between one scale and one for each row
  // where neither is named.
  std::array<std::int64_t, 2> tile = {0, 0};
  std::int64_t zero = 0;  // subtracted from integers
};

// Throw Error naming file and tensor if dtypes or shapes do not fit, if a scale is not finite, or if a code is NaN.
weights::ScaledWeight outline_bytes(const ModuleTensors& tensors, std::string_view scales, const ByteLayout& layout);
weights::ScaledWeight read_bytes(const ModuleTensors& tensors, std::string_view scales, const ByteLayout& layout);

}  // namespace normtweak::formats
