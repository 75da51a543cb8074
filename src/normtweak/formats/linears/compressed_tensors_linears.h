// compressed-tensors as a row of the table of formats; layouts and config are in compressed_tensors.h and
// compressed_tensors_config.h.
#pragma once
#include <memory>

#include "normtweak/formats/linears/quantized_linears.h"

namespace normtweak::formats {

std::unique_ptr<QuantizedLinears> open_compressed_tensors(const Json& json, const std::string& origin,
                                                          const ModuleSpellings& spellings,
                                                          std::vector<std::string>& notes);
std::vector<Reader> compressed_tensors_readers(const Json& config, std::span<const QuantizedModule> modules,
                                               const std::vector<std::string>& floats, bool head);
Json make_compressed_tensors_config(std::span<const QuantizedModule> modules, const std::vector<std::string>& floats,
                                    const WrittenFamily& family);
std::vector<TensorToWrite> encode_compressed_tensors(const Json& config, const QuantizedModule& module);

}  // namespace normtweak::formats
