// Checks for tensors that the family does not use. Ignoring them would silently compute a different model.
#pragma once
#include "normtweak/model/checkpoint.h"

namespace normtweak::model {

// Throws Error naming the first tensor that belongs to a block, the embedding, the final norm or the head and that
// nothing reads. Tensors elsewhere (such as heads of other tasks) take no part in the forward pass and are ignored.
void refuse_unread_tensors(const Checkpoint& checkpoint);

}  // namespace normtweak::model
