// Tensors that a family has no use for: a model of another kind, opened in silence, would give other logits.
#pragma once
#include "normtweak/model/checkpoint.h"

namespace normtweak::model {

// Throws Error naming the first tensor that belongs to a block, the embedding, the final norm or the head and that
// nothing reads. Tensors elsewhere (the heads of other tasks, say) are no part of the passes, and are left alone.
void refuse_unread_tensors(const Checkpoint& checkpoint);

}  // namespace normtweak::model
