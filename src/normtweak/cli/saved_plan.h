// The settings of a run as a file: --save-plan, --print-plan, --plan.
#pragma once
#include <CLI/CLI.hpp>
#include <string>

#include "normtweak/base/json/json.h"
#include "normtweak/base/progress.h"
#include "normtweak/cli/quantize_options.h"
#include "normtweak/pipeline/prepare_quantize.h"

namespace normtweak::cli {

// {plan: the version of the layout, version: of the program, preset, model: its fingerprint, settings: {name of an
// option without dashes: value}}. The settings are those that the run reads, with the defaults that they stand for as
// far as these are known before the work; MODEL, what is written and the machine are not among them. preset: what
// set_preset() returned, or null.
Json plan_of(const QuantizeChoice& choice, const pipeline::PreparedQuantize& prepared, const Json& preset);

// Sets what the command line leaves out as the plan in the file `path` says, and adds a note on what it leaves to the
// command line. Throws Error if the plan was made for another model than `model`, or if the file is no plan, naming
// what is not known.
void set_plan(CLI::App& command, const std::string& path, const std::string& model, ProgressSink& progress);

}  // namespace normtweak::cli
