// All options of `tweak` but those that only one command has: `search` tweaks with them too.
#pragma once
#include <CLI/CLI.hpp>
#include <string>

#include "normtweak/cli/general_options.h"
#include "normtweak/cli/report_options.h"
#include "normtweak/cli/text_options.h"
#include "normtweak/cli/tweak_options.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::cli {

struct TweakRunChoice {
  std::string quantized, reference, output;
  TweakChoice tweak;
  TextChoice text;
  ExternalChoice external;
  Common common;
};
// flag: what names the tweak method, "--method" or "--tweak".
void add_tweak_run_options(CLI::App& command, TweakRunChoice& choice, const std::string& flag);

// The options of the run. Throws UsageError for options that exclude each other, or that have no effect where another
// result would be expected; adds a note for others without effect. Call start() for the `compute` of the run.
pipeline::TweakRunOptions tweak_run_options(const CLI::App& command, const TweakRunChoice& choice,
                                            const std::string& flag, ProgressSink& progress);

}  // namespace normtweak::cli
