// Rotary scaling as stored in GGUF files of Llama 3.1 and later: a divisor per frequency.
#pragma once
#include <ATen/core/Tensor.h>

#include <string>

#include "normtweak/base/json/json.h"
#include "normtweak/formats/tensor_source.h"
#include "normtweak/model/config.h"

namespace normtweak::model {

// The config's `rope_scaling` whose llama3 rule (transformers' modeling_rope_utils.py) gives these factors.
// factors: f32 [head_size / 2]. Throws Error naming `origin` if there is none.
Json rotary_scaling_from_factors(const at::Tensor& factors, double base, std::int64_t head_size,
                                 const std::string& origin);

// The other way round: the tensors of divisors that a file has for the scaling, f32 [rotated channels / 2] each; none
// for scalings that keys describe.
formats::NamedTensors rotary_factor_tensors(const Rotary& rotary);

}  // namespace normtweak::model
