#include "normtweak/cli/model_help.h"

#include <c10/core/ScalarType.h>
#include <fmt/ranges.h>

#include <vector>

#include "normtweak/formats/ggml_blocks.h"

namespace normtweak::cli {

std::string model_help(std::string_view role, bool packed) {
  std::vector<std::string_view> types;
  for (const auto& type : formats::ggml_types()) {
    if (type.read_as && c10::isFloatingType(*type.read_as)) types.push_back(type.name);
  }
  return fmt::format(
      "{}: a folder in Hugging Face layout (safetensors{}, or pytorch_model.bin), a .gguf file with tensors in {}, or "
      "the id of a hub model "
      "in the local cache",
      role, packed ? ", float or compressed-tensors pack-quantized" : "", fmt::join(types, ", "));
}

}  // namespace normtweak::cli
