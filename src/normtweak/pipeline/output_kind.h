// What a run writes.
#pragma once
#include <filesystem>

#include "normtweak/model/checkpoint.h"

namespace normtweak::pipeline {

enum class OutputKind { folder, file };

// What a copy of this model is.
inline OutputKind output_kind_of(const model::Checkpoint& checkpoint) {
  return std::filesystem::is_directory(checkpoint.path) ? OutputKind::folder : OutputKind::file;
}

}  // namespace normtweak::pipeline
