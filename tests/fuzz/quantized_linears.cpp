// Quantized linears and the config that says how: a safetensors file, whose metadata hold the quantization_config.
#include "normtweak/formats/linears/quantized_linears.h"

#include "contract.h"
#include "normtweak/base/error.h"
#include "normtweak/formats/linears/quantized_tensors.h"
#include "normtweak/formats/safetensors.h"

namespace normtweak::fuzz {
namespace {

// What was read may be written back where it was, without a change.
void read_linear(const formats::TensorSource& tensors, const std::string& name, std::span<const std::byte> file) {
  const auto weight = tensors.read_weight(name);
  const auto outline = tensors.outline(name);
  require(weight.has_value() == outline.has_value(), "an outline for each weight with codes");
  if (!weight) return;
  require(weights::shape(*weight) == weights::shape(*outline), "an outline of the weight's shape");
  weights::dequantize(*weight);
  tensors.doubts(name);
  const auto* scaled = std::get_if<weights::ScaledWeight>(&*weight);
  const bool has_text = scaled != nullptr && scaled->offset.defined();  // a float that is written anew as a text
  const auto changes = formats::changes_only(file, tensors.patch(name, *weight));
  require(has_text || changes.empty(), "the same floats where they were");
}

void read(std::string_view bytes) {
  const auto file = std::make_shared<formats::SafetensorsFile>(std::as_bytes(std::span(bytes)), "memory");
  const auto text = file->metadata().find("quantization_config");
  if (text == file->metadata().end()) fail("memory: the config is missing");
  const auto config = parse_json(text->second, "memory");
  const auto& format = formats::find_quantization_format(config, "memory");
  std::vector<std::string> notes, floats;
  const auto tensors = formats::quantized_tensors(file, format.open(config, "memory", {}, notes));
  std::vector<formats::QuantizedModule> modules;
  for (const auto& name : tensors->names()) {
    tensors->info(name);
    read_linear(*tensors, name, std::as_bytes(std::span(bytes)));
    if (auto outline = tensors->outline(name)) {
      modules.push_back({name, std::move(*outline)});
    } else {
      floats.push_back(name);
    }
  }
  format.readers(config, modules, floats, false);
}

}  // namespace
}  // namespace normtweak::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return normtweak::fuzz::check(data, size, &normtweak::fuzz::read);
}
