// Locates the first non-finite values in a model.
#pragma once
#include <string>
#include <string_view>

#include "normtweak/model/branched_rows.h"
#include "normtweak/model/decoder.h"

namespace normtweak::model {

// "the model is damaged, or its numbers overflow in TYPE", and what to do about it: for messages about NaN and infinity
// in a pass in this dtype.
std::string about_overflow(at::ScalarType type);

// Call this when the logits for ids (i64 [samples, tokens]) hold NaN or infinity. It reruns the model and throws an
// Error that names the first part with such an output: a block, or what comes before or after the blocks. whose: names
// the model in the message if there are several. branches: of branched rows.
[[noreturn]] void fail_where_not_finite(const Decoder& decoder, const at::Tensor& ids, std::string_view whose = "",
                                        const BranchedRows* branches = nullptr);

}  // namespace normtweak::model
