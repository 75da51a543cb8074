#include "normtweak/formats/linears/auto_round.h"

#include <algorithm>
#include <array>

#include "normtweak/base/error.h"
#include "normtweak/formats/linears/awq.h"
#include "normtweak/formats/linears/gptq.h"

namespace normtweak::formats {
namespace {

constexpr int kFloatBits = 16;

// A name, or an expression that is searched for, wherever it matches.
std::string target_of(const std::string& key) {
  return key.find_first_of("*+?^$[](){}|\\") == std::string::npos ? key : fmt::format("re:.*(?:{})", key);
}

std::optional<AffineSettings> override_of(const Settings& entry, const AffineSettings& standard) {
  const auto& bits = entry.get({"bits"});
  const auto type = entry.text({"data_type"}, "int");
  if (type == "float" || (bits.is_number_integer() && bits >= kFloatBits)) return std::nullopt;
  if (type != "int") fail("{}: `data_type` {} is not supported; int is", entry.where(), type);
  return read_affine_settings(entry, standard, /*needs_bits=*/false);
}

ModuleSettings settings_of(const Settings& config, const AffineSettings& standard, const ModuleSpellings& spellings) {
  ModuleSettings settings(standard, spellings);
  const auto& extra = config.get("extra_config");
  if (extra.is_null()) return settings;
  if (!extra.is_object()) fail("{}: `extra_config` is {}; an object expected", config.where(), show(extra));
  for (const auto& [key, entry] : extra.items()) {
    const auto where = fmt::format("{}: extra_config {}", config.where(), key);
    settings.add(target_of(key), override_of(Settings(entry, where), standard), where);
  }
  return settings;
}

}  // namespace

std::unique_ptr<QuantizedLinears> open_auto_round(const Json& json, const std::string& origin,
                                                  const ModuleSpellings& spellings,
                                                  std::vector<std::string>& /*notes*/) {
  const Settings config(json, origin);
  const auto type = config.text({"data_type"}, "int");
  if (type != "int") fail("{}: `data_type` {} is not supported; int is", config.where(), type);
  const auto activations = config.whole({"act_bits"}, kFloatBits, 1, 32);
  if (activations < kFloatBits) {
    fail("{}: `act_bits` is {}: quantized activations are not supported in this format", config.where(), activations);
  }
  const auto standard = read_affine_settings(config, {}, /*needs_bits=*/true);
  auto settings = settings_of(config, standard, spellings);
  const auto format = config.text({"packing_format"}, "auto_round:auto_gptq");
  constexpr std::array<std::string_view, 3> kVersion1 = {"auto_round:auto_gptq", "auto_round:gptq", "auto_gptq"};
  constexpr std::array<std::string_view, 3> kAsTheyAre = {"auto_round", "auto_round:gptqmodel", "auto_round:tritonv2"};
  constexpr std::array<std::string_view, 2> kAwq = {"auto_round:auto_awq", "auto_round:awq"};
  const bool is_exllama = format == "auto_round:exllamav2";  // version 1 if symmetric
  const auto is_one_of = [&](const auto& names) { return std::ranges::find(names, format) != names.end(); };
  if (is_one_of(kAwq))
    return awq_linears(std::move(settings), SkippedModules(config, {"modules_to_not_convert"}, spellings));
  if (!is_one_of(kVersion1) && !is_one_of(kAsTheyAre) && !is_exllama) {
    fail("{}: `packing_format` {} is not supported; auto_round:auto_gptq, auto_round and auto_round:auto_awq are",
         config.where(), format);
  }
  return gptq_linears(
      {.settings = std::move(settings), .subtracts_one = is_one_of(kVersion1) || (is_exllama && standard.symmetric)});
}

}  // namespace normtweak::formats
