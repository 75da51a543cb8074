#include "normtweak/formats/readers.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <optional>

namespace normtweak::formats {
namespace {

// Linears that vLLM runs as one and for which it wants one setting.
struct Fused {
  std::string_view part, whole;
};
constexpr Fused kFusedInVllm[] = {{"q_proj", "qkv_proj"},
                                  {"k_proj", "qkv_proj"},
                                  {"v_proj", "qkv_proj"},
                                  {"gate_proj", "gate_up_proj"},
                                  {"up_proj", "gate_up_proj"}};

// "model.layers.0.self_attn.qkv_proj" for each of its parts; empty if the module is not fused.
std::string fused_name(std::string_view module) {
  const auto dot = module.rfind('.') + 1;  // 0 if there is none
  for (const auto& [part, whole] : kFusedInVllm) {
    if (module.substr(dot) == part) return fmt::format("{}{}", module.substr(0, dot), whole);
  }
  return "";
}

// The first linear of vLLM whose parts differ, or empty.
std::string divided(std::span<const PackedModule> modules, const std::vector<std::string>& floats) {
  std::map<std::string, std::optional<PackedSettings>> seen;  // by fused name; nullopt: float
  std::string found;
  const auto add = [&](const std::string& module, const std::optional<PackedSettings>& settings) {
    const auto name = fused_name(module);
    if (name.empty() || !found.empty()) return;
    const auto [entry, is_new] = seen.emplace(name, settings);
    if (!is_new && entry->second != settings) found = name;
  };
  for (const auto& module : modules) add(module.name, module.settings);
  for (const auto& module : floats) add(module, std::nullopt);
  return found;
}

bool is_common(const PackedSettings& settings) { return settings.bits == 4 || settings.bits == 8; }

// Group sizes that the kernels of vLLM support. Its newest versions support more widths on some GPUs.
bool has_group_of_vllm(const PackedSettings& settings) {
  const auto size = settings.group_size;
  return size == 0 || size == 32 || size == 64 || size == 128;
}

std::string why_not_vllm(std::span<const PackedModule> modules, const std::vector<std::string>& floats,
                         bool packed_head) {
  for (const auto& [name, settings] : modules) {
    if (!is_common(settings)) return fmt::format("no kernel for {} bits", settings.bits);
    if (!has_group_of_vllm(settings)) return fmt::format("no kernel for groups of {}", settings.group_size);
  }
  if (const auto name = divided(modules, floats); !name.empty()) {
    return fmt::format("the parts of its {} differ", name.substr(name.rfind('.') + 1));
  }
  return packed_head ? "a packed head was not tried" : "";
}

Reader transformers_of(const Json& config, std::span<const PackedModule> modules) {
  const auto is_symmetric = [](const PackedModule& module) { return module.settings.symmetric; };
  const bool symmetric = std::ranges::all_of(modules, is_symmetric);
  const bool equal =
      std::ranges::all_of(modules, [&](const PackedModule& module) { return module.settings == modules[0].settings; });
  const bool common =
      std::ranges::all_of(modules, [](const PackedModule& module) { return is_common(module.settings); });
  // compressed-tensors 0.17 packed 3, 5, 6 and 7 bits in another layout; earlier versions knew 4 and 8 bits only.
  std::string package = common && symmetric ? "with compressed-tensors" : "with compressed-tensors 0.18 or later";
  if (symmetric) return {"transformers", true, package};
  if (!equal) return {"transformers", false, "it cannot load zero-points where linears differ in their settings"};
  if (config.contains(kDequantize) && config[kDequantize] == true) return {"transformers", true, package};
  return {"transformers", true, package + " and quantization_config=CompressedTensorsConfig(dequantize=True)"};
}

}  // namespace

std::vector<Reader> float_readers() {
  return {{"transformers", true, ""}, {"vLLM", true, ""}, {"normtweak", true, ""}};
}

std::vector<Reader> gguf_readers() {
  return {
      {"llama.cpp", true, ""}, {"transformers", true, "dequantized, with the gguf package"}, {"normtweak", true, ""}};
}

std::vector<Reader> packed_readers(const Json& config, std::span<const PackedModule> modules,
                                   const std::vector<std::string>& floats, bool packed_head) {
  if (PackedConfig(config, "quantization_config").is_extension()) {
    const bool needed = std::ranges::any_of(modules, needs_extension, &PackedModule::settings);
    const std::string why =
        needed ? "float zero-points and codebooks are read by normtweak alone" : "it packs no linears of this family";
    return {{"normtweak", true, ""}, {"transformers", false, why}, {"vLLM", false, why}};
  }
  std::vector<Reader> readers = {transformers_of(config, modules)};
  const auto why = why_not_vllm(modules, floats, packed_head);
  readers.push_back({"vLLM", why.empty(), why});
  readers.push_back({"normtweak", true, ""});
  return readers;
}

Json readers_json(const std::vector<Reader>& readers) {
  auto json = Json::array();
  for (const auto& [program, opens, note] : readers) {
    json.push_back({{"program", program}, {"opens", opens}, {"note", note}});
  }
  return json;
}

std::string readers_line(const std::vector<Reader>& readers) {
  std::vector<std::string> open, closed;
  for (const auto& [program, opens, note] : readers) {
    auto text = note.empty() ? std::string(program) : fmt::format("{} ({})", program, note);
    (opens ? open : closed).push_back(std::move(text));
  }
  auto line = fmt::format("opens in {}", fmt::join(open, ", "));
  if (!closed.empty()) line += fmt::format("; not in {}", fmt::join(closed, ", "));
  return line;
}

}  // namespace normtweak::formats
