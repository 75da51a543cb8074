// How to tweak: --tune, --budget, --lr, --epochs, --loss, ...
#pragma once
#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "normtweak/cli/general_options.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::cli {

inline constexpr const char* kTweakGroup = "Tweak";  // of all options of the tweak

struct TweakChoice {
  std::string method = "end-to-end", tune, target = "float-block";
  std::string budget;
  std::optional<double> rate;  // 0 leaves the model as it is, which only the layer-wise tweak allows
  double scale_rate = 0, zero_rate = 0, rate_growth = 1;
  std::int64_t passes = 0, passes_per_text = 1, batch = 0, steps = 0, stop_after = 0;
  std::string loss = "dist";
  bool final_norm = false, unguarded = false, fresh_text = false;
  bool learn_codes = false;  // quantize
  double code_rate = tweak::CodeOptions().rate, code_decay = 0;
  std::vector<std::string> codes_of;
};
// flag: "--tweak" (quantize) or "--method" (tweak)
void add_tweak(CLI::App& command, TweakChoice& choice, const std::string& flag, bool may_be_none);

// Of commands that quantize: a tweak alone never changes a code.
void add_learned_codes(CLI::App& command, TweakChoice& choice);

// If an option was given that the chosen method does not use, adds a note where that is harmless and throws UsageError
// where it is not. With "none" all are noted, so that a command is easily repeated without a tweak. flag: as above.
void check_tweak_options(const CLI::App& command, const TweakChoice& choice, const std::string& flag,
                         ProgressSink& progress);

// Adds a note if --seed was given and nothing is random: the text is there, and only the end-to-end tweak draws rows.
void note_unread_seed(const CLI::App& command, const TweakChoice& choice, const pipeline::TextSource& text,
                      const std::string& flag, ProgressSink& progress);

pipeline::TweakOptions tweak_options(const TweakChoice& choice, const Common& common);

// The options that the chosen method reads, by name without dashes, as far as they are known before the work: {"loss":
// "dist", ...}. flag: as above.
Json tweak_settings(const TweakChoice& choice, const std::string& flag);

}  // namespace normtweak::cli
