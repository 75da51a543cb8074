#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>

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

std::string escaped(std::string_view text) {
  std::string result;
  for (const char letter : text) {
    const bool plain = (std::isalnum(static_cast<unsigned char>(letter)) != 0) || letter == '_';
    result += plain ? std::string{letter} : fmt::format("[{}]", letter);
  }
  return result;
}

// "layers.3.mlp.up_proj" in three: what stands before the index of the block, the index, and what follows.
struct IndexedName {
  std::string_view before, index, after;
};
std::optional<IndexedName> split_at_index(std::string_view name) {
  constexpr std::string_view kDigits = "0123456789";
  for (std::size_t dot = name.find('.'); dot != std::string_view::npos; dot = name.find('.', dot + 1)) {
    const auto end = name.find_first_not_of(kDigits, dot + 1);
    if (end == std::string_view::npos || end == dot + 1 || name[end] != '.') continue;
    return IndexedName{name.substr(0, dot), name.substr(dot + 1, end - dot - 1), name.substr(end + 1)};
  }
  return std::nullopt;
}

// The names in the whole model, and in the base model alone, where they lack the prefix.
Json names_of(const std::vector<std::string>& modules, std::string_view base_prefix) {
  auto names = Json::array();
  for (const std::string_view module : modules) {
    names.push_back(module);
    if (!base_prefix.empty() && module.starts_with(base_prefix)) names.push_back(module.substr(base_prefix.size()));
  }
  return names;
}

// The indices of the blocks, by what stands before and after: ("(model[.])?layers", "mlp[.]up_proj") and "0|2|5".
using Indices = std::vector<std::pair<std::pair<std::string, std::string>, std::string>>;

void add_index(Indices& all, const std::pair<std::string, std::string>& around, std::string_view index) {
  const auto found = std::ranges::find(all, around, &Indices::value_type::first);
  if (found == all.end()) {
    all.emplace_back(around, index);
  } else {
    found->second += fmt::format("|{}", index);
  }
}

// Targets that match these modules in the whole model and in the base model alone: regular expressions for those in
// blocks, one for each kind of linear,
//     re:(model[.])?layers[.](0|2|5)[.]mlp[.]up_proj$
// and names for the others, such as the head. If there are very many kinds, as experts are, names throughout.
Json targets_of(const std::vector<std::string>& modules, std::string_view base_prefix) {
  constexpr std::size_t kMostKinds = 64;
  auto targets = Json::array();
  Indices kinds;
  for (const std::string_view module : modules) {
    const bool in_base = !base_prefix.empty() && module.starts_with(base_prefix);
    const auto name = split_at_index(in_base ? module.substr(base_prefix.size()) : module);
    if (!name) {
      targets.push_back(module);
      continue;
    }
    const auto before = (in_base ? fmt::format("({})?", escaped(base_prefix)) : "") + escaped(name->before);
    add_index(kinds, {before, escaped(name->after)}, name->index);
    if (kinds.size() > kMostKinds) return names_of(modules, base_prefix);
  }
  for (const auto& [around, indices] : kinds) {
    targets.push_back(fmt::format("re:{}[.]({})[.]{}$", around.first, indices, around.second));
  }
  return targets;
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
        group_json(targets_of(groups[i].second, base_prefix), groups[i].first);
    group["format"] = format;
  }
  return json;
}

}  // namespace

Json make_packed_config(std::span<const PackedModule> modules, const std::vector<std::string>& ignored,
                        const PackedFamily& family) {
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
  config["ignore"] = targets_of(ignored, family.base_prefix);
  config["kv_cache_scheme"] = nullptr;
  config["version"] = kVersion;
  return config;
}

}  // namespace normtweak::formats
