#include "normtweak/formats/compressed_tensors_config.h"

#include <map>
#include <utility>

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

int parse_group_size(const Json& weights, std::string_view where) {
  const auto& size = get(weights, "group_size");
  const auto& strategy = get(weights, "strategy");
  const auto number = whole_number(size);
  const bool grouped = number && *number > 0 && *number < std::int64_t{1} << 31;
  if (grouped && (strategy.is_null() || is_text(strategy, "group"))) return static_cast<int>(*number);
  const bool whole_row = size.is_null() ? is_text(strategy, "channel") : number == -1;
  if (whole_row && (strategy.is_null() || is_text(strategy, "channel"))) return 0;
  fail("{}: strategy {} with group size {} is not supported; \"group\" and \"channel\" are", where, show(strategy),
       show(size));
}

PackedKind parse_kind(const Json& weights, bool extension, std::string_view where) {
  const auto& type = get(weights, "type");
  const auto& zero_point_type = get(weights, "zero_point_type");
  if (extension && is_text(type, "codebook")) return PackedKind::codebook;
  if (!type.is_null() && !is_text(type, "int")) fail("{}: weights of type {} are not supported", where, show(type));
  if (extension && is_text(zero_point_type, "float")) return PackedKind::float_zero_points;
  if (!zero_point_type.is_null()) fail("{}: zero_point_type {} is not supported", where, show(zero_point_type));
  return PackedKind::affine;
}

// `static` and `weight` change how codes were chosen, not how they are stored.
void check_order(const Json& weights, std::string_view where) {
  const auto& order = get(weights, "actorder");
  if (order.is_null() || order == false || is_text(order, "static") || is_text(order, "weight")) return;
  fail("{}: actorder {} stores input columns in another order, which is not supported", where, show(order));
}

PackedSettings parse_weights(const Json& weights, bool extension, std::string_view where) {
  if (!weights.is_object()) fail("{}: `weights` must be an object, found {}", where, show(weights));
  PackedSettings settings;
  settings.kind = parse_kind(weights, extension, where);
  const auto bits = whole_number(weights.value("num_bits", Json(8)));
  if (!bits || *bits < 2 || *bits > 8)
    fail("{}: num_bits {} is not supported; 2 to 8 are", where, show(get(weights, "num_bits")));
  settings.bits = static_cast<int>(*bits);
  const auto& symmetric = get(weights, "symmetric");
  if (!symmetric.is_null() && !symmetric.is_boolean()) fail("{}: `symmetric` is {}", where, show(symmetric));
  settings.symmetric = symmetric.is_null() || symmetric.get<bool>();  // the library's default
  settings.group_size = parse_group_size(weights, where);
  const auto& dynamic = get(weights, "dynamic");
  if (!dynamic.is_null() && dynamic != false) fail("{}: dynamic weights are not supported", where);
  check_order(weights, where);
  return settings;
}

void refuse_unless_empty(const Json& object, std::initializer_list<const char*> keys, std::string_view where) {
  for (const auto* key : keys) {
    const auto& found = get(object, key);
    if (!is_empty(found)) fail("{}: `{}` is not supported, found {}", where, key, show(found));
  }
}

void check_format(const Json& format, bool extension, std::string_view where) {
  const auto* expected = extension ? kExtendedPackedFormat : kPackedFormat;
  if (!is_text(format, expected)) {
    fail("{}: format {} is not supported; \"{}\" is", where, show(format), expected);
  }
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
  try {
    return ModulePattern(text);
  } catch (const Error& error) {
    fail("{}: {}", where, error.what());
  }
}

}  // namespace

bool is_packed_config(const Json& config) {
  if (!config.is_object()) return false;
  return is_text(get(config, "quant_method"), kPackedMethod) || is_text(get(config, "format"), kExtendedPackedFormat);
}

PackedConfig::PackedConfig(const Json& config, std::string_view origin)
    : where_(fmt::format("{}: quantization_config", origin)) {
  const auto& where = where_;
  if (!is_packed_config(config)) fail("{}: not of compressed-tensors", where);
  extension_ = is_text(get(config, "format"), kExtendedPackedFormat);
  check_format(get(config, "format"), extension_, where);
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
    if (!group.is_object())
      fail("{}: only groups with their settings are supported, found {}", group_where, show(group));
    const bool of_all = std::exchange(is_first, is_first && singles_out_experts(group));
    if (get(group, "targets") == kNoModule) continue;
    refuse_unless_empty(group, {"input_activations", "output_activations"}, group_where);
    if (const auto& format = get(group, "format"); !format.is_null()) check_format(format, extension_, group_where);
    const auto settings = parse_weights(get(group, "weights"), extension_, group_where);
    if (of_all && !is_first) dequantized_with_ = settings;
    for (auto& target : parse_texts(get(group, "targets"), group_where)) by_target[std::move(target)] = settings;
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
  try {
    return find_settings(module, std::string(class_name));
  } catch (const Error& error) {  // of a pattern
    fail("{}: {}", where_, error.what());
  }
}

std::optional<PackedSettings> PackedConfig::find_settings(const std::string& module,
                                                          const std::string& class_name) const {
  if (ignored_names_.contains(module) || ignored_names_.contains(class_name)) return std::nullopt;
  for (const auto& pattern : ignored_patterns_) {
    if (pattern.matches(module)) return std::nullopt;
  }
  if (const auto found = named_.find(module); found != named_.end()) return found->second;
  for (const auto& target : patterns_) {
    if (target.pattern.matches(module)) return target.settings;
  }
  const auto of_class = named_.find(class_name);
  return of_class == named_.end() ? std::nullopt : std::optional(of_class->second);
}

}  // namespace normtweak::formats
