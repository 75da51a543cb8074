// Which programs open a checkpoint as it lies there. Reads only headers and the config.
#pragma once
#include <string>
#include <vector>

#include "normtweak/formats/readers.h"
#include "normtweak/model/checkpoint.h"

namespace normtweak::model {

// The linears of a checkpoint, head included.
struct LinearsByKind {
  std::vector<formats::QuantizedModule> quantized;  // outlines, without data
  std::vector<std::string> floats;
  bool head = false;  // whether the head is among the former
};
LinearsByKind linears_by_kind(const Checkpoint& checkpoint);

std::vector<formats::Reader> readers_of(const Checkpoint& checkpoint);

}  // namespace normtweak::model
