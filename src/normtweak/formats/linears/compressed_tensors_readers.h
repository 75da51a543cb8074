// Which programs open compressed-tensors; see readers.h.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "normtweak/formats/compressed_tensors_config.h"
#include "normtweak/formats/readers.h"

namespace normtweak::formats {

// Of a folder with packed weights. config: its `quantization_config`; modules, floats: the linears that are packed and
// those that are not. packed_head: whether the head is among the former.
std::vector<Reader> packed_readers(const Json& config, std::span<const PackedModule> modules,
                                   const std::vector<std::string>& floats, bool packed_head = false);

// Of a folder with weights of a byte each, integers or FP8.
std::vector<Reader> byte_readers(std::span<const PackedModule> modules, const std::vector<std::string>& floats,
                                 bool quantized_head = false);

}  // namespace normtweak::formats
