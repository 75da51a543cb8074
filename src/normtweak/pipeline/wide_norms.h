// Norms that a folder stores in 16 bits and a tweak writes in F32.
#pragma once
#include <cstdint>
#include <string>

#include "normtweak/base/progress.h"
#include "normtweak/model/checkpoint.h"

namespace normtweak::pipeline {

// The checkpoint as one that stores all norms in F32 and whose readers load floats so: they are tuned, judged and
// written in F32. Adds a note if readers round the norms again, or if nothing changes. Throws Error if its files cannot
// be written so: a GGUF file with norms in 16 bits, or a folder whose config names no dtype, since readers then take
// that of the tensors.
model::Checkpoint with_wide_norms(model::Checkpoint checkpoint, ProgressSink& progress);

// Whether the tensor of this name in `checkpoint.tensors`, of a norm, is read in a wider dtype than its file has.
bool is_widened(const model::Checkpoint& checkpoint, const std::string& stored);

// How many bytes that makes the result larger.
std::int64_t widening_bytes(const model::Checkpoint& checkpoint);

}  // namespace normtweak::pipeline
