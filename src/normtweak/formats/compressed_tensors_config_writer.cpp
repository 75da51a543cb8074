#include <fmt/format.h>

#include <algorithm>

#include "normtweak/formats/compressed_tensors_config.h"

namespace normtweak::formats {
namespace {

constexpr const char* kVersion = "0.20.0";  // version of compressed-tensors whose layout is written

Json weights_json(const PackedSettings& settings) {
  Json weights = {{"num_bits", settings.bits},
                  {"type", settings.kind == PackedKind::codebook ? "codebook" : "int"},
                  {"symmetric", settings.symmetric},
                  {"strategy", settings.group_size > 0 ? "group" : "channel"},
                  {"group_size", settings.group_size > 0 ? Json(settings.group_size) : Json(nullptr)},
                  {"dynamic", false}};
  if (settings.kind == PackedKind::float_zero_points) weights["zero_point_type"] = "float";
  return weights;
}

}  // namespace

Json make_packed_config(std::span<const PackedModule> modules, const std::vector<std::string>& ignored,
                        bool others_read_it) {
  std::vector<std::pair<PackedSettings, Json>> groups;  // settings and the names of their modules, in order
  bool extension = !others_read_it;
  for (const auto& module : modules) {
    extension |= needs_extension(module.settings);
    auto group = std::ranges::find(groups, module.settings, &std::pair<PackedSettings, Json>::first);
    if (group == groups.end()) group = groups.insert(groups.end(), {module.settings, Json::array()});
    group->second.push_back(module.name);
  }
  Json config = Json::object();
  // Without `quant_method` every known loader stops; with an unknown one transformers loads random weights.
  if (!extension) config["quant_method"] = kPackedMethod;
  config["format"] = extension ? kExtendedPackedFormat : kPackedFormat;
  config["quantization_status"] = "compressed";
  config["global_compression_ratio"] = nullptr;
  config["config_groups"] = Json::object();
  for (std::size_t i = 0; i < groups.size(); ++i) {
    // Not a class for the largest group and names for the rest: vLLM matches the class first when it fuses linears.
    const auto targets = groups.size() == 1 ? Json::array({"Linear"}) : groups[i].second;
    config["config_groups"][fmt::format("group_{}", i)] = {{"targets", targets},
                                                           {"weights", weights_json(groups[i].first)},
                                                           {"input_activations", nullptr},
                                                           {"output_activations", nullptr}};
  }
  config["ignore"] = ignored;
  config["kv_cache_scheme"] = nullptr;
  config["version"] = kVersion;
  return config;
}

}  // namespace normtweak::formats
