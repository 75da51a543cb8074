#include "normtweak/model/checkpoint_readers.h"

#include "normtweak/base/files/file_kind.h"
#include "normtweak/model/decoder.h"

namespace normtweak::model {

PackedLinears packed_linears(const Checkpoint& checkpoint) {
  const formats::PackedConfig config(checkpoint.config.at("quantization_config"), checkpoint.path);
  PackedLinears found;
  const auto add = [&](const std::string& module, std::int64_t rows, std::int64_t columns) {
    const bool is_float = checkpoint.tensors->contains(stored_name(checkpoint, module + ".weight"));
    const auto settings = is_float ? std::nullopt : config.settings_of(module);
    if (settings) {
      found.packed.push_back({module, *settings, rows, columns});
    } else {
      found.floats.push_back(module);
    }
    return settings.has_value();
  };
  for (int block = 0; block < checkpoint.numbers.layers; ++block) {
    for (const auto& shape : linear_shapes(checkpoint, block)) add(shape.name, shape.out, shape.in);
  }
  const auto head = head_shape(*checkpoint.family, checkpoint.numbers);
  if (checkpoint.numbers.tied_head) {
    found.floats.push_back(head.name);
  } else {
    found.packed_head = add(head.name, head.out, head.in);
  }
  return found;
}

std::vector<formats::Reader> readers_of(const Checkpoint& checkpoint) {
  if (has_ending(checkpoint.path, ".gguf")) return formats::gguf_readers();
  if (!is_quantized(checkpoint)) return formats::float_readers();
  const auto linears = packed_linears(checkpoint);
  return formats::packed_readers(checkpoint.config.at("quantization_config"), linears.packed, linears.floats,
                                 linears.packed_head);
}

}  // namespace normtweak::model
