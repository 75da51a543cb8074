#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "normtweak/formats/compressed_tensors_config.h"
#include "normtweak/formats/module_targets.h"

namespace normtweak::formats {
namespace {

constexpr const char* kVersion = "0.20.0";  // version of compressed-tensors whose layout is written

std::string_view type_of(const PackedSettings& settings) {
  if (settings.kind == PackedKind::codebook) return "codebook";
  return settings.kind == PackedKind::float8 ? "float" : "int";
}

std::string_view strategy_of(const PackedSettings& settings) {
  if (settings.group_size > 0) return "group";
  return settings.per_tensor ? "tensor" : "channel";
}

Json weights_json(const PackedSettings& settings) {
  Json weights = {{"num_bits", settings.bits},
                  {"type", type_of(settings)},
                  {"symmetric", settings.symmetric},
                  {"strategy", strategy_of(settings)},
                  {"group_size", settings.group_size > 0 ? Json(settings.group_size) : Json(nullptr)},
                  {"dynamic", false}};
  if (settings.ordered) weights["actorder"] = "group";
  if (settings.kind == PackedKind::float_zero_points) weights["zero_point_type"] = "float";
  return weights;
}

Json inputs_json(const PackedSettings& settings) {
  if (!settings.input) return nullptr;
  const auto& [bits, symmetric, floats, dynamic, group_size] = *settings.input;
  return {{"num_bits", bits},
          {"type", floats ? "float" : "int"},
          {"symmetric", symmetric},
          {"strategy", group_size > 0 ? "group"
                       : dynamic      ? "token"
                                      : "tensor"},
          {"group_size", group_size > 0 ? Json(group_size) : Json(nullptr)},
          {"dynamic", dynamic}};
}

Json group_json(const Json& targets, const PackedSettings& settings) {
  return {{"targets", targets},
          {"weights", weights_json(settings)},
          {"input_activations", inputs_json(settings)},
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

std::string_view format_of(const PackedSettings& settings, bool extension) {
  if (settings.kind == PackedKind::integers) return kBytesFormat;
  if (settings.kind == PackedKind::float8) return kFloatsFormat;
  return extension ? kExtendedPackedFormat : kPackedFormat;
}

// That of all groups, if they share one.
std::string_view format_of(const Groups& groups, bool extension) {
  if (extension) return kExtendedPackedFormat;
  std::string_view shared;
  for (const auto& [settings, names] : groups) {
    const auto own = format_of(settings, extension);
    if (!shared.empty() && own != shared) return kMixedFormat;
    shared = own;
  }
  return shared.empty() ? kPackedFormat : shared;
}

// Older versions of transformers take the format of the first group for all, unless each has its own.
Json mixed_groups(const Groups& groups, bool extension, const WrittenFamily& family) {
  Json json = Json::object();
  if (!extension) {
    json["mixed"] = group_json(Json::array({kNoModuleTarget}), {.bits = 4, .symmetric = true});
    json["mixed"]["format"] = "dense";
  }
  for (std::size_t i = 0; i < groups.size(); ++i) {
    // Not a class for the largest group and names for the rest: vLLM matches the class first when it fuses linears.
    auto& group = json[fmt::format("group_{}", i)] =
        group_json(module_targets(groups[i].second, family), groups[i].first);
    group["format"] = format_of(groups[i].first, extension);
  }
  return json;
}

}  // namespace

Json make_packed_config(std::span<const PackedModule> modules, const std::vector<std::string>& ignored,
                        const WrittenFamily& family) {
  const auto groups = grouped(modules);
  const bool extension =
      !family.others_read_it || std::ranges::any_of(groups, needs_extension, &Groups::value_type::first);
  Json config = Json::object();
  // Without `quant_method` every known loader stops; with an unknown one transformers loads random weights.
  if (!extension) config["quant_method"] = kPackedMethod;
  config["format"] = format_of(groups, extension);
  config["quantization_status"] = "compressed";
  config["global_compression_ratio"] = nullptr;
  if (groups.size() > 1) {
    config["config_groups"] = mixed_groups(groups, extension, family);
  } else {
    config["config_groups"] = Json::object();
    for (const auto& [settings, names] : groups) {
      auto& group = config["config_groups"]["group_0"] = group_json(Json::array({"Linear"}), settings);
      // Without it the library takes any linear whose input is rounded for int-quantized.
      if (extension || settings.input || settings.kind == PackedKind::float8)
        group["format"] = format_of(settings, extension);
      // Told to dequantize, transformers would leave the inputs float.
      if (!extension && !settings.symmetric && !settings.input) config[kDequantize] = true;
    }
  }
  config["ignore"] = module_targets(ignored, family);
  for (const auto& part : family.parts_beside) config["ignore"].push_back(part_target(part));
  config["kv_cache_scheme"] = nullptr;
  config["version"] = kVersion;
  return config;
}

}  // namespace normtweak::formats
