#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "normtweak/formats/compressed_tensors_config.h"
#include "normtweak/formats/module_targets.h"

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
  if (settings.ordered) weights["actorder"] = "group";
  if (settings.kind == PackedKind::float_zero_points) weights["zero_point_type"] = "float";
  return weights;
}

Json group_json(const Json& targets, const PackedSettings& settings) {
  return {{"targets", targets},
          {"weights", weights_json(settings)},
          {"input_activations", nullptr},
          {"output_activations", nullptr}};
}

// Settings and the names of their modules, in the order of the modules.
using Groups = std::vector<std::pair<PackedSettings, std::vector<std::string>>>;

Groups grouped(std::span<const PackedModule> modules) {
  Groups groups;
  for (const auto& module : modules) {
    auto group = std::ranges::find(groups, module.settings, &Groups::value_type::first);
    if (group == groups.end()) group = groups.insert(groups.end(), {module.settings, {}});
    group->second.push_back(module.name);
  }
  return groups;
}

// Older versions of transformers take the format of the first group for all, unless each has its own.
Json mixed_groups(const Groups& groups, const char* format, std::string_view base_prefix) {
  Json json = Json::object();
  if (format == kPackedFormat) {
    json["mixed"] = group_json(Json::array({kNoModuleTarget}), {.bits = 4, .symmetric = true});
    json["mixed"]["format"] = "dense";
  }
  for (std::size_t i = 0; i < groups.size(); ++i) {
    // Not a class for the largest group and names for the rest: vLLM matches the class first when it fuses linears.
    auto& group = json[fmt::format("group_{}", i)] =
        group_json(module_targets(groups[i].second, base_prefix), groups[i].first);
    group["format"] = format;
  }
  return json;
}

}  // namespace

Json make_packed_config(std::span<const PackedModule> modules, const std::vector<std::string>& ignored,
                        const WrittenFamily& family) {
  const auto groups = grouped(modules);
  const bool extension =
      !family.others_read_it || std::ranges::any_of(groups, needs_extension, &Groups::value_type::first);
  const char* format = extension ? kExtendedPackedFormat : kPackedFormat;
  Json config = Json::object();
  // Without `quant_method` every known loader stops; with an unknown one transformers loads random weights.
  if (!extension) config["quant_method"] = kPackedMethod;
  config["format"] = format;
  config["quantization_status"] = "compressed";
  config["global_compression_ratio"] = nullptr;
  if (groups.size() > 1) {
    config["config_groups"] = mixed_groups(groups, format, family.base_prefix);
  } else {
    config["config_groups"] = Json::object();
    for (const auto& [settings, names] : groups)
      config["config_groups"]["group_0"] = group_json(Json::array({"Linear"}), settings);
    if (!extension && !groups.empty() && !groups[0].first.symmetric) config[kDequantize] = true;
  }
  config["ignore"] = module_targets(ignored, family.base_prefix);
  config["kv_cache_scheme"] = nullptr;
  config["version"] = kVersion;
  return config;
}

}  // namespace normtweak::formats
