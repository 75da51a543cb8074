#include "normtweak/cli/presets.h"

#include <algorithm>
#include <array>

#include "normtweak/base/error.h"
#include "normtweak/cli/flag_defaults.h"

namespace normtweak::cli {
namespace {

// Norm Tweaking, arXiv 2309.02784: GPTQ as published, 4 bits per output channel or 2 bits in groups of 64; the model
// writes the text in its languages; Adam at a rate of 1e-5, one pass. Its open follow-up, the repository
// smpanaro/norm-tweaking: round to nearest with 6 bits per output channel or k-means, text as LLM-QAT writes it, and
// the best rate and growth of its table.
constexpr std::array kPresets = {
    Preset{.name = "norm-tweaking",
           .description = "arXiv 2309.02784, 4 bits per channel",
           .flags = "--method gptq --bits 4 --group-size 0 --no-search-grid --no-act-order --sweeps 0 "
                    "--drift-correction 0 --tweak layerwise --loss dist --lr 1e-5 --lr-scale 1 --epochs 1 --batch 1 "
                    "--target float-block --strategy language --samples 128 --tokens 2048"},
    Preset{.name = "norm-tweaking-2bit",
           .description = "arXiv 2309.02784, 2 bits in groups of 64",
           .flags = "--method gptq --bits 2 --group-size 64 --no-search-grid --no-act-order --sweeps 0 "
                    "--drift-correction 0 --tweak layerwise --loss dist --lr 1e-5 --lr-scale 1 --epochs 1 --batch 1 "
                    "--target float-block --strategy language --samples 128 --tokens 2048"},
    Preset{.name = "follow-up-rtn",
           .description = "smpanaro/norm-tweaking, round to nearest with 6 bits per channel",
           .flags = "--method rtn --bits 6 --group-size 0 --no-search-grid --tweak layerwise --loss dist --lr 2e-4 "
                    "--lr-scale 5 --epochs 1 --batch 1 --strategy llm-qat --samples 128"},
    Preset{.name = "follow-up-kmeans",
           .description = "smpanaro/norm-tweaking, k-means, here with a codebook per channel",
           .flags = "--method kmeans --bits 4 --tweak layerwise --loss dist --lr 2e-4 --lr-scale 5 --epochs 1 "
                    "--batch 1 --strategy llm-qat --samples 128"},
};

Json names_of(const std::vector<FlagValues>& flags) {
  auto names = Json::array();
  for (const auto& flag : flags) names.push_back(flag.name);
  return names;
}

}  // namespace

std::span<const Preset> presets() { return kPresets; }

const Preset& find_preset(std::string_view name) {
  const auto* preset = std::ranges::find(kPresets, name, &Preset::name);
  if (preset == kPresets.end()) fail_usage("--preset {}: there is none of this name", name);
  return *preset;
}

Json set_preset(CLI::App& command, std::string_view name, ProgressSink& progress) {
  const auto source = fmt::format("--preset {}", name);
  const auto defaults = set_defaults(command, parse_flags(find_preset(name).flags), source);
  auto note = fmt::format("{}: {}", source, flags_text(defaults.set));
  if (!defaults.overruled.empty()) note += fmt::format("; not {}, given otherwise", flags_text(defaults.overruled));
  progress.note(note);
  return {{"name", name}, {"flags", flags_text(defaults.set)}, {"overruled", names_of(defaults.overruled)}};
}

}  // namespace normtweak::cli
