// All options of `quantize` but those that only one command has: `search` quantizes with them too.
#pragma once
#include <CLI/CLI.hpp>
#include <string>

#include "normtweak/base/json/json.h"
#include "normtweak/cli/general_options.h"
#include "normtweak/cli/plan_options.h"
#include "normtweak/cli/report_options.h"
#include "normtweak/cli/text_options.h"
#include "normtweak/cli/transform_options.h"
#include "normtweak/cli/tweak_options.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::cli {

struct QuantizeChoice {
  std::string model, output, format = "compressed-tensors", gguf_type, served_by, store_type;
  PlanChoice plan;
  TransformChoice transform;
  TweakChoice tweak;
  TextChoice text;
  ExternalChoice external;
  Common common;
  std::string preset, plan_file;
};
// output_help: what -o is.
void add_quantize_options(CLI::App& command, QuantizeChoice& choice, const std::string& output_help);

// Sets what the command line leaves out as --preset or --plan say. Returns what reports say of the preset; null without
// one. Throws Error if the plan was made for another model, or has a key that is no setting.
Json set_defaults(CLI::App& command, QuantizeChoice& choice, ProgressSink& progress);

// The options of the run. Throws UsageError for options that exclude each other, or that have no effect where another
// result would be expected; adds a note for others without effect. Call set_defaults() before, and start() for the
// `compute` of the run.
pipeline::QuantizeOptions quantize_options(const CLI::App& command, const QuantizeChoice& choice,
                                           ProgressSink& progress);

}  // namespace normtweak::cli
