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
    return refused(fmt::format("the parts of its {} differ", name.substr(name.rfind('.') + 1)));
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

std::vector<Reader> float_readers() {
  return {{"transformers", true, ""}, {"vLLM", true, ""}, {"normtweak", true, ""}};
}

std::vector<Reader> gguf_readers() {
  return {
      {"llama.cpp", true, ""}, {"transformers", true, "dequantized, with the gguf package"}, {"normtweak", true, ""}};
}

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

std::string reader_text(const Reader& reader) {
  return reader.note.empty() ? std::string(reader.program) : fmt::format("{} ({})", reader.program, reader.note);
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
  for (const auto& reader : readers) (reader.opens ? open : closed).push_back(reader_text(reader));
  auto line = fmt::format("opens in {}", fmt::join(open, ", "));
  if (!closed.empty()) line += fmt::format("; not in {}", fmt::join(closed, ", "));
  return line;
}

}  // namespace normtweak::formats
