// Where numbers stop being finite.
#pragma once
#include <string_view>

#include "normtweak/model/decoder.h"

namespace normtweak::model {

// To be called when the logits of ids (i64 [samples, tokens]) hold NaN or infinity: goes through the model once more
// and throws an Error that names the first block, or what comes before or after the blocks, whose output does. whose:
// said in front of it, where there are several models.
[[noreturn]] void fail_where_not_finite(const Decoder& decoder, const at::Tensor& ids, std::string_view whose = "");

}  // namespace normtweak::model
