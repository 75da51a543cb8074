// Explains why a checkpoint lacks a tensor: names that a wrapper, a training program or an adapter changed. Other
// readers would start such a tensor at random.
#pragma once
#include <string>

#include "normtweak/model/checkpoint.h"

namespace normtweak::model {

// Throws Error if the checkpoint holds tensors of an adapter (LoRA) that was not merged into the weights.
void refuse_adapter(const Checkpoint& checkpoint);

// Throws Error: there is no tensor `name`. Says which name in the file differs from it only by more parts, if one does.
[[noreturn]] void fail_missing(const Checkpoint& checkpoint, const std::string& name);

// Parts between dots that `stored` has and `name` lacks, joined by dots, if `name` has all others in the same order;
// otherwise empty. "module.model.norm.weight" and "model.norm.weight" → "module"
std::string extra_parts(std::string_view stored, std::string_view name);

}  // namespace normtweak::model
