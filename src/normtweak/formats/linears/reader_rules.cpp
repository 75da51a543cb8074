// Which programs open GPTQ, AWQ, AutoRound, bitsandbytes and FP8. What was tried and what was read in their sources
// (transformers 5.23, vLLM 0.19 and 0.33) stands in docs/formats.md, "Who loads it".
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "normtweak/formats/linears/auto_round.h"
#include "normtweak/formats/linears/awq.h"
#include "normtweak/formats/linears/bitsandbytes.h"
#include "normtweak/formats/linears/fp8.h"
#include "normtweak/formats/linears/fused_linears.h"
#include "normtweak/formats/linears/gptq.h"
#include "normtweak/formats/module_targets.h"

namespace normtweak::formats {
namespace {

using weights::AffineWeight;

constexpr Reader kSelf = {"normtweak", true, ""};

struct Named {
  std::string_view name;
  const AffineWeight* weight;
};

std::vector<Named> affine(std::span<const QuantizedModule> modules) {
  std::vector<Named> found;
  for (const auto& [name, weight, input] : modules) {
    if (const auto* one = std::get_if<AffineWeight>(&weight)) found.push_back({name, one});
  }
  return found;
}

std::string settings_text(const AffineWeight& weight) {
  return fmt::format("{} {} {}", weight.bits, weight.group_size, weight.symmetric);
}

bool has_one_setting(const std::vector<Named>& linears) {
  return std::ranges::all_of(linears, [&](const Named& linear) {
    return settings_text(*linear.weight) == settings_text(*linears.front().weight);
  });
}

// The head is not among them where it is named in no block.
bool has_float_in_blocks(const std::vector<std::string>& floats) { return std::ranges::any_of(floats, lies_in_block); }

std::string divided(const std::vector<Named>& linears, const std::vector<std::string>& floats) {
  std::vector<std::pair<std::string, std::string>> all;
  for (const auto& [name, weight] : linears) all.emplace_back(name, settings_text(*weight));
  for (const auto& name : floats) all.emplace_back(name, "float");
  return divided_linear(all);
}

bool is_group_of(const AffineWeight& weight, std::initializer_list<int> sizes) {
  return std::ranges::find(sizes, weight.group_size) != sizes.end();
}

Reader transformers_of_gptq(const std::vector<Named>& linears, const std::vector<std::string>& floats, bool head) {
  const auto refused = [](std::string why) { return Reader{"transformers", false, std::move(why)}; };
  if (!has_one_setting(linears)) return refused("it wants one setting for all linears");
  if (has_float_in_blocks(floats)) return refused("it wants all linears of the blocks quantized");
  if (head) return refused("it loads no quantized head");
  const auto& first = *linears.front().weight;
  if (!is_group_of(first, {0, 16, 32, 64, 128, 256, 512, 1024})) {
    return refused(fmt::format("no kernel for groups of {}", first.group_size));
  }
  return {"transformers", true, "with optimum and gptqmodel"};
}

// Of its newest version; before 0.20 it had kernels for more (docs/formats.md).
Reader vllm_of_gptq(const std::vector<Named>& linears, const std::vector<std::string>& floats) {
  const auto refused = [](std::string why) { return Reader{"vLLM", false, std::move(why)}; };
  for (const auto& [name, weight] : linears) {
    if (weight->bits != 4 && weight->bits != 8) return refused(fmt::format("no kernel for {} bits", weight->bits));
    if (!weight->symmetric) return refused("no kernel for zero-points in this format");
    if (!is_group_of(*weight, {0, 32, 64, 128})) {
      return refused(fmt::format("no kernel for groups of {}", weight->group_size));
    }
    if (weight->order.defined()) return refused("no kernel for act-order");
  }
  if (const auto name = divided(linears, floats); !name.empty()) {
    return refused(fmt::format("the parts of its {} differ", name));
  }
  return {"vLLM", true, ""};
}

Reader transformers_of_awq(const std::vector<Named>& linears) {
  if (!is_group_of(*linears.front().weight, {0, 16, 32, 64, 128})) {
    return {"transformers", false, fmt::format("no kernel for groups of {}", linears.front().weight->group_size)};
  }
  return {"transformers", true, "with gptqmodel"};
}

Reader vllm_of_awq(const std::vector<Named>& linears, const std::vector<std::string>& floats) {
  if (const auto name = divided(linears, floats); !name.empty()) {
    return {"vLLM", false, fmt::format("the parts of its {} differ", name)};
  }
  const bool is_common = is_group_of(*linears.front().weight, {0, 32, 64, 128});
  return {"vLLM", true, is_common ? "" : "by its slower kernel"};
}

}  // namespace

std::vector<Reader> gptq_readers(const Json& /*config*/, std::span<const QuantizedModule> modules,
                                 const std::vector<std::string>& floats, bool head) {
  const auto linears = affine(modules);
  if (linears.empty()) return {kSelf};
  return {transformers_of_gptq(linears, floats, head), vllm_of_gptq(linears, floats), kSelf};
}

std::vector<Reader> awq_readers(const Json& /*config*/, std::span<const QuantizedModule> modules,
                                const std::vector<std::string>& floats, bool /*head*/) {
  const auto linears = affine(modules);
  if (linears.empty()) return {kSelf};
  return {transformers_of_awq(linears), vllm_of_awq(linears, floats), kSelf};
}

std::vector<Reader> auto_round_readers(const Json& config, std::span<const QuantizedModule> modules,
                                       const std::vector<std::string>& floats, bool /*head*/) {
  const auto linears = affine(modules);
  if (linears.empty()) return {kSelf};
  const auto found = config.find("packing_format");
  const auto format = found != config.end() && found->is_string() ? found->get<std::string>() : "";
  auto vllm = format.ends_with("awq") ? vllm_of_awq(linears, floats) : vllm_of_gptq(linears, floats);
  if (format == "auto_round") vllm = {"vLLM", false, "it reads no zero-points of this packing_format"};
  return {{"transformers", true, "with auto-round"}, vllm, kSelf};
}

std::vector<Reader> bitsandbytes_readers(const Json& /*config*/, std::span<const QuantizedModule> /*modules*/,
                                         const std::vector<std::string>& /*floats*/, bool /*head*/) {
  return {{"transformers", true, "with bitsandbytes"}, {"vLLM", true, "up to 0.19 with bitsandbytes"}, kSelf};
}

std::vector<Reader> fp8_readers(const Json& config, std::span<const QuantizedModule> /*modules*/,
                                const std::vector<std::string>& /*floats*/, bool /*head*/) {
  const auto method = config.value("quant_method", "");
  if (method == "fbgemm_fp8") {
    return {{"transformers", true, "with fbgemm-gpu, on a GPU"}, {"vLLM", true, "if asked to, as deprecated"}, kSelf};
  }
  return {{"transformers", true, ""}, {"vLLM", true, "on GPUs with FP8"}, kSelf};
}

}  // namespace normtweak::formats
