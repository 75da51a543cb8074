// What tests/oracles/quantize_oracle.py left in the build folder.
#pragma once
#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "normtweak/base/json/json.h"

namespace normtweak::test {

// The cases of one suite: "rtn", "gptq" or "kmeans".
Json oracle_cases(const std::string& suite);

// The array NAME.npy, f32 or u8.
at::Tensor oracle_array(const std::string& name);

// The CPU, and a GPU where there is one.
std::vector<c10::Device> devices();

}  // namespace normtweak::test
