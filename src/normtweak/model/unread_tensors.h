// The tensors that the family uses. Ignoring others would silently compute a different model.
#pragma once
#include <map>
#include <string>

#include "normtweak/model/checkpoint.h"

namespace normtweak::model {

// The family's name of each tensor of the checkpoint that is part of the model, by the name in the file.
std::map<std::string, std::string> family_names(const Checkpoint& checkpoint);

// Throws Error naming the first tensor that belongs to a block, the embedding, the final norm or the head and that
// nothing reads. Tensors elsewhere (such as heads of other tasks) take no part in the forward pass and are ignored.
void refuse_unread_tensors(const Checkpoint& checkpoint);

}  // namespace normtweak::model
