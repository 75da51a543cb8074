#include "normtweak/formats/linears/fused_linears.h"

#include <fmt/format.h>

#include <map>
#include <string_view>

namespace normtweak::formats {
namespace {

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

}  // namespace

std::string divided_linear(std::span<const std::pair<std::string, std::string>> linears) {
  std::map<std::string, std::string> seen;  // settings by fused name
  for (const auto& [module, settings] : linears) {
    const auto name = fused_name(module);
    if (name.empty()) continue;
    const auto [entry, is_new] = seen.emplace(name, settings);
    if (!is_new && entry->second != settings) return name.substr(name.rfind('.') + 1);
  }
  return "";
}

}  // namespace normtweak::formats
