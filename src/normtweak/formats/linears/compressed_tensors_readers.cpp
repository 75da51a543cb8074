#include "normtweak/formats/linears/compressed_tensors_readers.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "normtweak/formats/linears/fused_linears.h"

namespace normtweak::formats {
namespace {

std::string divided(std::span<const PackedModule> modules, const std::vector<std::string>& floats) {
  std::vector<std::pair<std::string, std::string>> linears;
  for (const auto& [name, settings, rows, columns] : modules) {
    linears.emplace_back(name, fmt::format("{} {} {} {}", settings.bits, settings.group_size, settings.symmetric,
                                           static_cast<int>(settings.kind)));
  }
  for (const auto& name : floats) linears.emplace_back(name, "float");
  return divided_linear(linears);
}

bool is_common(const PackedSettings& settings) { return settings.bits == 4 || settings.bits == 8; }

// Group sizes that the kernels of vLLM support. Its newest versions support more widths on some GPUs.
bool has_group_of_vllm(const PackedSettings& settings) {
  const auto size = settings.group_size;
  return size == 0 || size == 32 || size == 64 || size == 128;
}

// What the kernels of vLLM do not take unless they pad, as they do in its newest versions.
std::string odd_width(std::span<const PackedModule> modules) {
  constexpr std::int64_t kRows = 64, kColumns = 128;
  for (const auto& module : modules) {
    if (module.columns % kColumns != 0) return fmt::format("{} columns are no multiple of 128", module.columns);
    if (module.rows % kRows != 0) return fmt::format("{} rows are no multiple of 64", module.rows);
  }
  return "";
}

Reader vllm_of(std::span<const PackedModule> modules, const std::vector<std::string>& floats, bool packed_head) {
  const auto refused = [](std::string why) { return Reader{"vLLM", false, std::move(why)}; };
  for (const auto& module : modules) {
    const auto& settings = module.settings;
    if (!is_common(settings)) return refused(fmt::format("no kernel for {} bits", settings.bits));
    if (!has_group_of_vllm(settings)) return refused(fmt::format("no kernel for groups of {}", settings.group_size));
  }
  if (const auto name = divided(modules, floats); !name.empty()) {
    return refused(fmt::format("the parts of its {} differ", name));
  }
  if (packed_head) return refused("a packed head was not tried");
  const auto width = odd_width(modules);
  return {"vLLM", true, width.empty() ? "" : "a version whose kernels pad: " + width};
}

bool is_true(const Json& config, const char* key) {
  const auto found = config.find(key);
  return found != config.end() && *found == true;
}

// transformers 5 runs symmetric weights as they are packed, and dequantizes others, if it is told to, with one setting
// for all. Its versions before 5 ignore `dequantize`.
Reader transformers_of(const Json& config, const std::optional<PackedSettings>& dequantized_with,
                       std::span<const PackedModule> modules) {
  const bool symmetric = std::ranges::all_of(modules, [](const auto& module) { return module.settings.symmetric; });
  const bool common = std::ranges::all_of(modules, [](const auto& module) { return is_common(module.settings); });
  const bool dequantizes = is_true(config, kDequantize);
  const bool one_setting =
      std::ranges::all_of(modules, [&](const auto& module) { return dequantized_with == module.settings; });
  // compressed-tensors 0.17 packed 3, 5, 6 and 7 bits in another layout; earlier versions knew 4 and 8 bits only.
  const std::string package = common && symmetric ? "with compressed-tensors" : "with compressed-tensors 0.18 or later";
  if (symmetric && !dequantizes) return {"transformers", true, package};
  if (!one_setting && !dequantizes) {
    return {"transformers", false, "it cannot load zero-points where linears differ in their settings"};
  }
  if (!one_setting) return {"transformers", false, "it would take the first group's settings for all linears"};
  if (dequantizes) return {"transformers", true, "version 5 " + package};
  return {"transformers", true,
          fmt::format("version 5 {} and quantization_config=CompressedTensorsConfig(dequantize=True)", package)};
}

}  // namespace

std::vector<Reader> packed_readers(const Json& config, std::span<const PackedModule> modules,
                                   const std::vector<std::string>& floats, bool packed_head) {
  const PackedConfig parsed(config, "quantization_config");
  if (parsed.is_extension()) {
    const bool needed = std::ranges::any_of(modules, needs_extension, &PackedModule::settings);
    const std::string why =
        needed ? "float zero-points and codebooks are read by normtweak alone" : "it packs no linears of this family";
    return {{"normtweak", true, ""}, {"transformers", false, why}, {"vLLM", false, why}};
  }
  return {transformers_of(config, parsed.dequantized_with(), modules),
          vllm_of(modules, floats, packed_head),
          {"normtweak", true, ""}};
}

std::vector<Reader> byte_readers(std::span<const PackedModule> modules, bool rounds_activations) {
  const bool are_floats = std::ranges::all_of(
      modules, [](const PackedModule& module) { return module.settings.kind == PackedKind::float8; });
  const bool are_rows = std::ranges::all_of(modules, [](const PackedModule& module) {
    return module.settings.group_size == 0 && module.settings.tile_rows == 0;
  });
  Reader vllm = {"vLLM", true, are_floats ? "on GPUs with FP8, else with float activations" : ""};
  if (!are_floats && !rounds_activations) vllm = {"vLLM", false, "no kernel for integers of a byte with float inputs"};
  if (!are_floats && !are_rows) vllm = {"vLLM", false, "it wants one scale for a row or for all"};
  return {{"transformers", true, "with compressed-tensors"}, vllm, {"normtweak", true, ""}};
}

}  // namespace normtweak::formats
