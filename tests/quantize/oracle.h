// What tests/oracles/quantize_oracle.py left in the build folder.
#pragma once
#include <ATen/core/Tensor.h>

#include <string>

#include "normtweak/base/json/json.h"

namespace normtweak::test {

// The cases of one suite: "rtn", "gptq" or "kmeans".
Json oracle_cases(const std::string& suite);

// The array NAME.npy, f32 or u8.
at::Tensor oracle_array(const std::string& name);

}  // namespace normtweak::test
