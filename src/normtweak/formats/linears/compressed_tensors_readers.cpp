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
    linears.emplace_back(
        name, fmt::format("{} {} {} {} {}", settings.bits, settings.group_size, settings.symmetric,
                          static_cast<int>(settings.kind), settings.input ? weights::describe(*settings.input) : ""));
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

bool is_packed(const PackedSettings& settings) {
  return settings.kind != PackedKind::integers && settings.kind != PackedKind::float8;
}

std::string unknown_packed(const PackedSettings& settings) {
  if (settings.input) return "no kernel for packed weights with rounded inputs";
  if (!is_common(settings)) return fmt::format("no kernel for {} bits", settings.bits);
  if (!has_group_of_vllm(settings)) return fmt::format("no kernel for groups of {}", settings.group_size);
  return "";
}

// Of integers of a byte, vLLM has W8A8 with one scale for a row or for all, and inputs rounded to 8 bits in a static
// range or token by token.
std::string unknown_integers(const PackedSettings& settings) {
  if (!settings.input) return "no kernel for integers of a byte with float inputs";
  if (settings.group_size != 0 || settings.tile_rows != 0) return "it wants one scale for a row or for all";
  if (settings.bits != 8 || settings.input->bits != 8 || settings.input->floats || settings.input->group_size != 0) {
    return fmt::format("no kernel for W{}A{}", settings.bits, settings.input->bits);
  }
  return settings.symmetric ? "" : "no kernel for zero-points of weights whose inputs are rounded";
}

// Why vLLM has no kernel for linears with these settings; empty if it has one.
std::string unknown_to_vllm(const PackedSettings& settings) {
  if (settings.kind == PackedKind::float8) return "";
  return is_packed(settings) ? unknown_packed(settings) : unknown_integers(settings);
}

// What the kernels of vLLM do not take unless they pad, as they do in its newest versions.
std::string odd_width(std::span<const PackedModule> modules) {
  constexpr std::int64_t kRows = 64, kColumns = 128;
  for (const auto& module : modules) {
    if (!is_packed(module.settings)) continue;
    if (module.columns % kColumns != 0) return fmt::format("{} columns are no multiple of 128", module.columns);
    if (module.rows % kRows != 0) return fmt::format("{} rows are no multiple of 64", module.rows);
  }
  return "";
}

Reader vllm_of(std::span<const PackedModule> modules, const std::vector<std::string>& floats, bool quantized_head) {
  const auto refused = [](std::string why) { return Reader{"vLLM", false, std::move(why)}; };
  for (const auto& module : modules) {
    if (auto why = unknown_to_vllm(module.settings); !why.empty()) return refused(std::move(why));
  }
  if (const auto name = divided(modules, floats); !name.empty()) {
    return refused(fmt::format("the parts of its {} differ", name));
  }
  if (quantized_head) return refused("a packed head was not tried");
  if (const auto width = odd_width(modules); !width.empty()) {
    return {"vLLM", true, "a version whose kernels pad: " + width};
  }
  const bool has_zeros_of_8_bits = std::ranges::any_of(modules, [](const PackedModule& module) {
    return is_packed(module.settings) && module.settings.bits == 8 && !module.settings.symmetric;
  });
  if (has_zeros_of_8_bits) return {"vLLM", true, "on Hopper GPUs, whose kernel has zero-points of 8 bits"};
  const bool has_fp8 = std::ranges::any_of(
      modules, [](const PackedModule& module) { return module.settings.kind == PackedKind::float8; });
  return {"vLLM", true, has_fp8 ? "on GPUs with FP8, else with float activations" : ""};
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
  const bool rounds =
      std::ranges::any_of(modules, [](const auto& module) { return module.settings.input.has_value(); });
  // It cannot load packed zero-points without dequantizing, and then leaves the inputs float.
  if (rounds && !symmetric) return {"transformers", false, "it cannot load packed zero-points and round inputs"};
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

std::vector<Reader> byte_readers(std::span<const PackedModule> modules, const std::vector<std::string>& floats,
                                 bool quantized_head) {
  return {{"transformers", true, "with compressed-tensors"},
          vllm_of(modules, floats, quantized_head),
          {"normtweak", true, ""}};
}

}  // namespace normtweak::formats
