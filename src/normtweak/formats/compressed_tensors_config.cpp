#include "normtweak/formats/compressed_tensors_config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <map>
#include <utility>

#include "normtweak/base/about.h"
#include "normtweak/base/error.h"

namespace normtweak::formats {
namespace {

const Json kNothing = nullptr;
const Json kNoModule = Json::array({kNoModuleTarget});

const Json& get(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? kNothing : *found;
}

bool is_text(const Json& value, std::string_view text) {
  return value.is_string() && value.get_ref<const std::string&>() == text;
}

bool is_empty(const Json& value) { return value.is_null() || (value.is_object() && value.empty()); }

// Integers only: 4.0 or true in JSON are errors.
std::optional<std::int64_t> whole_number(const Json& value) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > std::uint64_t{1} << 31) return std::nullopt;
  return value.get<std::int64_t>();
}

// Rows and columns of a tile, [128, 128] or "128x128".
std::array<int, 2> parse_tile(const Json& structure, std::string_view where) {
  constexpr int kLargest = 1 << 20;
  std::array<int, 2> tile = {0, 0};
  if (structure.is_array() && structure.size() == 2) {
    for (std::size_t i = 0; i < 2; ++i) {
      const auto size = whole_number(structure[i]);
      if (size && *size > 0 && *size <= kLargest) tile.at(i) = static_cast<int>(*size);
    }
  } else if (structure.is_string()) {
    const auto& text = structure.get_ref<const std::string&>();
    const auto cross = text.find('x');
    if (cross != std::string::npos) {
      std::from_chars(text.data(), text.data() + cross, tile[0]);
      std::from_chars(text.data() + cross + 1, text.data() + text.size(), tile[1]);
    }
  }
  if (tile[0] <= 0 || tile[1] <= 0 || tile[0] > kLargest || tile[1] > kLargest) {
    fail("{}: block_structure {}; rows and columns of a tile are expected", where, show(structure));
  }
  return tile;
}

// What shares a scale. Only weights of a byte have one scale for all, or tiles.
void parse_scope(const Json& weights, PackedSettings& settings, std::string_view where) {
  const auto& size = get(weights, "group_size");
  const auto& strategy = get(weights, "strategy");
  const bool bytes = settings.kind == PackedKind::integers || settings.kind == PackedKind::float8;
  const auto number = whole_number(size);
  const bool grouped = number && *number > 0 && *number < std::int64_t{1} << 31;
  if (grouped && (strategy.is_null() || is_text(strategy, "group"))) {
    settings.group_size = static_cast<int>(*number);
    return;
  }
  const bool whole_row = size.is_null() ? is_text(strategy, "channel") : number == -1;
  if (whole_row && (strategy.is_null() || is_text(strategy, "channel"))) return;
  if (bytes && size.is_null() && (strategy.is_null() || is_text(strategy, "tensor"))) {
    settings.per_tensor = true;
    return;
  }
  if (bytes && is_text(strategy, "block")) {
    const auto [rows, columns] = parse_tile(get(weights, "block_structure"), where);
    settings.tile_rows = rows;
    settings.group_size = columns;
    return;
  }
  fail("{}: strategy {} with group size {} is not supported{}", where, show(strategy), show(size),
       bytes ? "" : "; \"group\" and \"channel\" are");
}

PackedKind parse_kind(const Json& weights, std::string_view format, std::string_view where) {
  const auto& type = get(weights, "type");
  const auto& zero_point_type = get(weights, "zero_point_type");
  const bool extension = format == kExtendedPackedFormat;
  if (extension && is_text(type, "codebook")) return PackedKind::codebook;
  if (is_text(type, "float") && (format == kFloatsFormat || format == "naive-quantized")) return PackedKind::float8;
  if (!type.is_null() && !is_text(type, "int")) fail("{}: weights of type {} are not supported", where, show(type));
  if (format == kFloatsFormat) fail("{}: weights of type int in format {}", where, format);
  if (extension && is_text(zero_point_type, "float")) return PackedKind::float_zero_points;
  if (!zero_point_type.is_null()) fail("{}: zero_point_type {} is not supported", where, show(zero_point_type));
  return format == kBytesFormat || format == "naive-quantized" ? PackedKind::integers : PackedKind::affine;
}

// Only "group", also called "dynamic", is seen in the file: as weight_g_idx.
bool parse_order(const Json& weights, std::string_view where) {
  const auto& order = get(weights, "actorder");
  if (order.is_null()) return false;
  if (order.is_boolean()) return order.get<bool>();
  if (is_text(order, "static") || is_text(order, "weight")) return false;
  if (is_text(order, "group") || is_text(order, "dynamic")) return true;
  fail("{}: actorder {} is not supported", where, show(order));
}

PackedSettings parse_weights(const Json& weights, std::string_view format, std::string_view where) {
  if (!weights.is_object()) fail("{}: `weights` must be an object, found {}", where, show(weights));
  PackedSettings settings;
  settings.kind = parse_kind(weights, format, where);
  const auto bits = whole_number(weights.value("num_bits", Json(8)));
  if (!bits || *bits < 2 || *bits > 8)
    fail("{}: num_bits {} is not supported; 2 to 8 are", where, show(get(weights, "num_bits")));
  settings.bits = static_cast<int>(*bits);
  const auto& symmetric = get(weights, "symmetric");
  if (!symmetric.is_null() && !symmetric.is_boolean()) fail("{}: `symmetric` is {}", where, show(symmetric));
  settings.symmetric = symmetric.is_null() || symmetric.get<bool>();  // the library's default
  parse_scope(weights, settings, where);
  if (settings.kind == PackedKind::float8 && settings.bits != 8) {
    fail("{}: floats of {} bits are not supported; 8 are", where, settings.bits);
  }
  const auto& dynamic = get(weights, "dynamic");
  if (!dynamic.is_null() && dynamic != false) fail("{}: dynamic weights are not supported", where);
  settings.ordered = parse_order(weights, where);
  return settings;
}

void refuse_unless_empty(const Json& object, std::initializer_list<const char*> keys, std::string_view where) {
  for (const auto* key : keys) {
    const auto& found = get(object, key);
    if (!is_empty(found)) fail("{}: `{}` is not supported, found {}", where, key, show(found));
  }
}

// Throws Error if it is none of those that are read.
std::string_view checked_format(const Json& format, bool extension, std::string_view where) {
  constexpr std::array<std::string_view, 4> kRead = {kPackedFormat, kBytesFormat, "naive-quantized", "float-quantized"};
  if (extension && is_text(format, kExtendedPackedFormat)) return kExtendedPackedFormat;
  for (const auto known : kRead) {
    if (is_text(format, known)) return known;
  }
  fail("{}: format {} is not supported; {} are", where, show(format), fmt::join(kRead, ", "));
}

// How the input is rounded; nullopt: not at all, or in a way that is not known here, which `unknown` then says.
std::optional<weights::ActivationSettings> parse_inputs(const Json& inputs, std::string_view where,
                                                        std::string& unknown) {
  if (is_empty(inputs)) return std::nullopt;
  if (!inputs.is_object()) fail("{}: `input_activations` must be an object, found {}", where, show(inputs));
  weights::ActivationSettings settings;
  const auto bits = whole_number(inputs.value("num_bits", Json(8)));
  if (!bits || *bits < 2 || *bits > 8) fail("{}: input_activations of {} bits", where, show(get(inputs, "num_bits")));
  settings.bits = static_cast<int>(*bits);
  settings.floats = is_text(get(inputs, "type"), "float");
  const auto& symmetric = get(inputs, "symmetric");
  settings.symmetric = symmetric.is_null() || symmetric == true;  // the library's default
  settings.dynamic = get(inputs, "dynamic") == true;
  const auto& strategy = get(inputs, "strategy");
  const auto& size = get(inputs, "group_size");
  const auto columns = whole_number(size);
  const bool of_groups = is_text(strategy, "group") && columns && *columns > 0 && *columns < std::int64_t{1} << 31;
  const bool is_whole = strategy.is_null() ? size.is_null() : is_text(strategy, "tensor");
  if (of_groups) settings.group_size = static_cast<int>(*columns);
  const bool has_known_range = settings.dynamic ? of_groups || is_text(strategy, "token") : is_whole;
  const bool has_known_values = !settings.floats || (settings.bits == 8 && settings.symmetric);
  if (has_known_range && has_known_values) return settings;
  unknown = fmt::format("{} of {} bits, strategy {}, dynamic {}", settings.floats ? "floats" : "integers", *bits,
                        show(strategy), show(get(inputs, "dynamic")));
  return std::nullopt;
}

// A scheme that is named instead of written out, such as W4A16. Those of 4-bit floats are not read.
Json preset(std::string name, std::string_view where) {
  std::ranges::transform(name, name.begin(), [](unsigned char letter) { return std::toupper(letter); });
  const auto scheme = [](int bits, const char* type, const char* strategy, const Json& group, bool symmetric) {
    const Json weights = {
        {"num_bits", bits}, {"type", type}, {"strategy", strategy}, {"group_size", group}, {"symmetric", symmetric}};
    return Json{{"weights", weights}};
  };
  const auto with_inputs = [](Json whole, int bits, const char* strategy, const Json& group = nullptr) {
    whole["input_activations"] = {{"num_bits", bits},
                                  {"type", whole["weights"]["type"]},
                                  {"strategy", strategy},
                                  {"group_size", group},
                                  {"dynamic", strategy != std::string_view("tensor")}};
    return whole;
  };
  constexpr int kTile = 128;
  if (name == "W8A8" || name == "INT8") return with_inputs(scheme(8, "int", "channel", nullptr, true), 8, "token");
  if (name == "FP8_DYNAMIC") return with_inputs(scheme(8, "float", "channel", nullptr, true), 8, "token");
  if (name == "FP8") return with_inputs(scheme(8, "float", "tensor", nullptr, true), 8, "tensor");
  if (name == "FP8_BLOCK") {
    auto block = scheme(8, "float", "block", nullptr, true);
    block["weights"]["block_structure"] = {kTile, kTile};
    return with_inputs(std::move(block), 8, "group", kTile);
  }
  if (name == "W4A16_ASYM") return scheme(4, "int", "group", 128, false);
  const bool is_grid = name.size() > 3 && name[0] == 'W' && name[1] >= '2' && name[1] <= '8' && name[2] == 'A';
  const auto rest = is_grid ? name.substr(3) : "";
  if (rest != "16" && rest != "8" && rest != "4") {
    fail("{}: preset {} is not supported; write its settings out", where, name);
  }
  auto packed = scheme(name[1] - '0', "int", "group", 128, true);
  return rest == "16" ? packed : with_inputs(std::move(packed), rest[0] - '0', "token");
}

// The settings of a group; a preset's name has a list of targets alone.
Json group_settings(const std::string& name, const Json& group, std::string_view where) {
  if (group.is_object()) return group;
  if (!group.is_array()) fail("{}: a group's settings expected, found {}", where, show(group));
  auto settings = preset(name, where);
  settings["targets"] = group;
  return settings;
}

// compressed-tensors 0.17 and earlier.
bool is_older_version(const Json& config) {
  const auto& version = get(config, "version");
  if (!version.is_string()) return false;
  const auto& text = version.get_ref<const std::string&>();
  constexpr int kSince = 18;
  int minor = kSince;
  if (text.starts_with("0.")) std::from_chars(text.data() + 2, text.data() + text.size(), minor);
  return minor < kSince;
}

std::vector<std::string> parse_texts(const Json& list, std::string_view where) {
  if (!list.is_array()) fail("{}: expected a list of names, found {}", where, show(list));
  std::vector<std::string> texts;
  for (const auto& value : list) {
    if (!value.is_string()) fail("{}: expected a list of names, found {} in it", where, show(value));
    texts.push_back(value.get<std::string>());
  }
  return texts;
}

bool singles_out_experts(const Json& group) {
  const auto& targets = get(group, "targets");
  return targets.is_array() && std::ranges::any_of(targets, [](const Json& target) {
           const auto text = target.is_string() ? target.get<std::string>() : "";
           return ModulePattern::is_regex(text) && text.find("experts") != std::string::npos;
         });
}

ModulePattern pattern_of(const std::string& text, std::string_view where) {
  return about(where, [&] { return ModulePattern(text); });
}

}  // namespace

bool is_packed_config(const Json& config) {
  if (!config.is_object()) return false;
  return is_text(get(config, "quant_method"), kPackedMethod) || is_text(get(config, "format"), kExtendedPackedFormat);
}

PackedConfig::PackedConfig(const Json& config, std::string_view origin, const ModuleSpellings& spellings)
    : where_(fmt::format("{}: quantization_config", origin)), spellings_(spellings) {
  const auto& where = where_;
  if (!is_packed_config(config)) fail("{}: not of compressed-tensors", where);
  extension_ = is_text(get(config, "format"), kExtendedPackedFormat);
  const auto& format = get(config, "format");
  const bool is_mixed = !extension_ && is_text(format, kMixedFormat);
  if (!is_mixed) checked_format(format, extension_, where);
  const auto& status = get(config, "quantization_status");
  // Versions of 2024 wrote "frozen" for compressed weights.
  if (!is_text(status, "compressed") && !is_text(status, "frozen")) {
    fail("{}: quantization_status {} is not supported; \"compressed\" is", where, show(status));
  }
  refuse_unless_empty(config, {"kv_cache_scheme", "transform_config", "moe_sparsity_config"}, where);
  const auto& sparsity = get(config, "sparsity_config");
  if (!is_empty(sparsity) && !(sparsity.is_object() && is_text(get(sparsity, "format"), "dense"))) {
    fail("{}: `sparsity_config` is not supported, found {}", where, show(sparsity));
  }
  const auto& groups = get(config, "config_groups");
  if (!groups.is_object()) fail("{}: `config_groups` must be an object, found {}", where, show(groups));

  std::map<std::string, PackedSettings> by_target;  // the last group that names a target wins
  bool is_first = true;                             // of those that do not single out experts
  for (const auto& [name, group] : groups.items()) {
    const auto group_where = fmt::format("{}: {}", where, name);
    const auto scheme = group_settings(name, group, group_where);
    const bool of_all = std::exchange(is_first, is_first && singles_out_experts(scheme));
    if (get(scheme, "targets") == kNoModule) continue;
    refuse_unless_empty(scheme, {"output_activations"}, group_where);
    const auto& own = get(scheme, "format");
    auto settings = parse_weights(get(scheme, "weights"),
                                  checked_format(own.is_null() ? format : own, extension_, group_where), group_where);
    settings.input = parse_inputs(get(scheme, "input_activations"), group_where, unknown_rounding_);
    settings.older_layout = is_older_version(config);
    // W8A16 meant one scale a row before 0.16.
    const bool is_preset = group.is_array();
    if (is_preset && settings.group_size > 0 && settings.tile_rows == 0) {
      settings.group_size = PackedSettings::kShapeDecides;
    }
    if (of_all && !is_first) dequantized_with_ = settings;
    for (auto& target : parse_texts(get(scheme, "targets"), group_where)) by_target[std::move(target)] = settings;
  }
  for (const auto& [target, settings] : by_target) {
    if (ModulePattern::is_regex(target)) {
      patterns_.push_back({pattern_of(target, where), settings});
    } else {
      named_.emplace(target, settings);
    }
  }
  if (const auto& ignored = get(config, "ignore"); !ignored.is_null()) {
    for (auto& text : parse_texts(ignored, where)) {
      if (ModulePattern::is_regex(text)) {
        ignored_patterns_.push_back(pattern_of(text, where));
      } else {
        ignored_names_.insert(std::move(text));
      }
    }
  }
}

std::optional<PackedSettings> PackedConfig::settings_of(const std::string& module, std::string_view class_name) const {
  return about(where_, [&] { return find_settings(module, std::string(class_name)); });  // an Error of a pattern
}

std::optional<PackedSettings> PackedConfig::find_settings(const std::string& module,
                                                          const std::string& class_name) const {
  const auto names = spellings_.of(module);
  const auto is_matched = [&](const ModulePattern& pattern) {
    return std::ranges::any_of(names, [&](const std::string& name) { return pattern.matches(name); });
  };
  const auto is_ignored = [&](const std::string& name) { return ignored_names_.contains(name); };
  if (is_ignored(class_name) || std::ranges::any_of(names, is_ignored)) return std::nullopt;
  if (std::ranges::any_of(ignored_patterns_, is_matched)) return std::nullopt;
  for (const auto& name : names) {
    if (const auto found = named_.find(name); found != named_.end()) return found->second;
  }
  for (const auto& target : patterns_) {
    if (is_matched(target.pattern)) return target.settings;
  }
  const auto of_class = named_.find(class_name);
  return of_class == named_.end() ? std::nullopt : std::optional(of_class->second);
}

}  // namespace normtweak::formats
