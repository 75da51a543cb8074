#include "normtweak/formats/linears/compressed_tensors_linears.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "normtweak/base/error.h"
#include "normtweak/formats/compressed_tensors.h"
#include "normtweak/formats/compressed_tensors_config.h"
#include "normtweak/formats/linears/compressed_tensors_readers.h"
#include "normtweak/formats/linears/module_tensors.h"

namespace normtweak::formats {
namespace {

constexpr std::array<std::string_view, 8> kPackedParts = {"weight_packed", "weight_scale",    "weight_zero_point",
                                                          "weight_shape",  "weight_codebook", "weight_g_idx",
                                                          "input_scale",   "input_zero_point"};
constexpr std::array<std::string_view, 5> kByteParts = {"weight", "weight_scale", "weight_zero_point", "input_scale",
                                                        "input_zero_point"};

class CompressedTensorsLinears : public QuantizedLinears {
 public:
  explicit CompressedTensorsLinears(PackedConfig config) : config_(std::move(config)) {}

  std::string_view name() const override { return "compressed-tensors"; }

  // Linears that stay float have a `weight` as well, but no scale.
  std::vector<StoredLinear> find(const TensorSource& file) const override {
    auto found = linears_with(file, kPackedParts);
    for (auto& linear : linears_with(file, kByteParts)) {
      if (file.contains(linear.module + ".weight_scale")) found.push_back(std::move(linear));
    }
    for (const auto& linear : found) settings(file, linear.module, linear.tensors.front());
    return found;
  }

  weights::Weight read(const TensorSource& file, const std::string& module) const override {
    return decode_packed(file, module, settings(file, module, module));
  }
  weights::Weight outline(const TensorSource& file, const std::string& module) const override {
    return outline_packed(file, module, settings(file, module, module));
  }
  std::optional<weights::ActivationQuantizer> input_quantizer(const TensorSource& file,
                                                              const std::string& module) const override {
    return decode_input(file, module, settings(file, module, module));
  }
  NamedTensors floats(const TensorSource& file, const std::string& module,
                      const weights::Weight& weight) const override {
    return packed_floats(file, module, weight);
  }
  bool expects_codes(const std::string& module) const override { return config_.settings_of(module).has_value(); }

 private:
  PackedSettings settings(const TensorSource& file, const std::string& module, const std::string& tensor) const {
    const auto found = config_.settings_of(module);
    if (!found) fail("{}: the config says that this linear is not quantized", described(file, tensor));
    return *found;
  }

  PackedConfig config_;
};

std::vector<PackedModule> packed_modules(std::span<const QuantizedModule> modules) {
  std::vector<PackedModule> packed;
  for (const auto& [name, weight, input] : modules) {
    const auto shape = weights::shape(weight);
    packed.push_back({name, packed_settings(weight, input), shape[0], shape[1]});
  }
  return packed;
}

}  // namespace

std::unique_ptr<QuantizedLinears> open_compressed_tensors(const Json& json, const std::string& origin,
                                                          const ModuleSpellings& spellings,
                                                          std::vector<std::string>& notes) {
  PackedConfig config(json, origin, spellings);
  if (!config.unknown_rounding().empty()) {
    notes.push_back(
        fmt::format("{}: servers also round the inputs of linears, as input_activations say ({}); here they stay float",
                    origin, config.unknown_rounding()));
  }
  return std::make_unique<CompressedTensorsLinears>(std::move(config));
}

std::vector<Reader> compressed_tensors_readers(const Json& config, std::span<const QuantizedModule> modules,
                                               const std::vector<std::string>& floats, bool head) {
  const PackedConfig parsed(config, "quantization_config");
  std::vector<PackedModule> packed;
  bool holds_bytes = false;
  for (const auto& [name, weight, input] : modules) {
    const auto shape = weights::shape(weight);
    const auto settings = parsed.settings_of(name);
    if (settings) packed.push_back({name, *settings, shape[0], shape[1]});
    holds_bytes |= settings && (settings->kind == PackedKind::integers || settings->kind == PackedKind::float8);
  }
  if (holds_bytes && !parsed.is_extension()) return byte_readers(packed, floats, head);
  return packed_readers(config, packed, floats, head);
}

Json make_compressed_tensors_config(std::span<const QuantizedModule> modules, const std::vector<std::string>& floats,
                                    const WrittenFamily& family) {
  return make_packed_config(packed_modules(modules), floats, family);
}

std::vector<TensorToWrite> encode_compressed_tensors(const Json& /*config*/, const QuantizedModule& module) {
  return encode_packed(module.name, module.weight, module.input_quantizer);
}

}  // namespace normtweak::formats
