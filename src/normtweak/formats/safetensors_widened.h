// A safetensors file written anew with some of its tensors in F32.
//
// The data of all others keeps its bytes but for those that `patches` replace. Header and offsets change. As in the
// reference writer, tensors with larger elements come first, so that all data stays aligned for its dtype; those of one
// size keep their order.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstddef>
#include <map>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "normtweak/formats/byte_patch.h"

namespace normtweak::formats {

using WidenedTensors = std::map<std::string, at::Tensor>;  // f32 on the CPU, by name; of the shapes in the file

// base: a whole file, which is called `origin`. patches: in the order of their offsets in `base`. Throws Error naming
// the tensor if one of `widened` is not in the file, or has another shape.
void write_widened(std::span<const std::byte> base, const std::string& origin, const std::vector<BytePatch>& patches,
                   const WidenedTensors& widened, std::ostream& stream);

}  // namespace normtweak::formats
