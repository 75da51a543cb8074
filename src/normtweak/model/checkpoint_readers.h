// Which programs open a checkpoint as it lies there. Reads only headers and the config.
#pragma once
#include <string>
#include <vector>

#include "normtweak/formats/readers.h"
#include "normtweak/model/checkpoint.h"

namespace normtweak::model {

// The linears of a quantized checkpoint, head included.
struct PackedLinears {
  std::vector<formats::PackedModule> packed;
  std::vector<std::string> floats;
  bool packed_head = false;
};

// Throws Error if the checkpoint's `quantization_config` is not supported.
PackedLinears packed_linears(const Checkpoint& checkpoint);

// Throws Error as above.
std::vector<formats::Reader> readers_of(const Checkpoint& checkpoint);

}  // namespace normtweak::model
