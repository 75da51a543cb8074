// Packed linears and the config that says how: a safetensors file, whose metadata hold the quantization_config.
#include "normtweak/formats/compressed_tensors.h"

#include "contract.h"
#include "normtweak/base/error.h"
#include "normtweak/formats/readers.h"
#include "normtweak/formats/safetensors.h"

namespace normtweak::fuzz {
namespace {

constexpr std::string_view kScale = ".weight_scale", kCodebook = ".weight_codebook";

void read(std::string_view bytes) {
  const formats::SafetensorsFile file(std::as_bytes(std::span(bytes)), "memory");
  const auto text = file.metadata().find("quantization_config");
  if (text == file.metadata().end()) fail("memory: the config is missing");
  const auto stored = parse_json(text->second, "memory");
  const formats::PackedConfig config(stored, "memory");
  for (const auto& name : file.names()) {
    for (const auto part : {kScale, kCodebook}) {
      if (!name.ends_with(part)) continue;
      const auto module = name.substr(0, name.size() - part.size());
      if (const auto settings = config.settings_of(module)) {
        dequantize(formats::decode_packed(file, module, *settings));
        formats::packed_readers(stored, std::vector<formats::PackedModule>{{module, *settings}}, {});
      }
    }
  }
}

}  // namespace
}  // namespace normtweak::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return normtweak::fuzz::check(data, size, &normtweak::fuzz::read);
}
