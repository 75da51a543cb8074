#include "normtweak/model/checkpoint_readers.h"

#include "normtweak/base/files/file_kind.h"
#include "normtweak/model/decoder.h"

namespace normtweak::model {

LinearsByKind linears_by_kind(const Checkpoint& checkpoint) {
  LinearsByKind found;
  const auto add = [&](const std::string& module) {
    const auto name = stored_name(checkpoint, module + ".weight");
    auto outline = checkpoint.tensors->contains(name) ? checkpoint.tensors->outline(name) : std::nullopt;
    const bool is_quantized = outline.has_value();
    if (is_quantized) {
      found.quantized.push_back({module, std::move(*outline), checkpoint.tensors->input_quantizer(name)});
    } else {
      found.floats.push_back(module);
    }
    return is_quantized;
  };
  for (int block = 0; block < checkpoint.numbers.layers; ++block) {
    for (const auto& shape : linear_shapes(checkpoint, block)) add(shape.name);
  }
  const auto head = head_shape(*checkpoint.family, checkpoint.numbers);
  if (checkpoint.numbers.tied_head) {
    found.floats.push_back(head.name);
  } else {
    found.head = add(head.name);
  }
  return found;
}

std::vector<formats::Reader> readers_of(const Checkpoint& checkpoint) {
  if (has_ending(checkpoint.path, ".gguf")) return formats::gguf_readers();
  if (!is_quantized(checkpoint)) return formats::float_readers();
  const auto linears = linears_by_kind(checkpoint);
  return checkpoint.format->readers(checkpoint.quantization, linears.quantized, linears.floats, linears.head);
}

}  // namespace normtweak::model
