// Where the calibration text comes from: --calibration, --text, --samples, --tokens, --strategy, ...
#pragma once
#include <CLI/CLI.hpp>
#include <string>

#include "normtweak/cli/general_options.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::cli {

struct TextChoice {
  pipeline::TextSource source;
  std::string languages = "en";
};
void add_text_source(CLI::App& command, TextChoice& choice);
void add_text_writing(CLI::App& command, TextChoice& choice);  // the subset of options that controls generation

// Where the text comes from. Adds a note for each option that was given but has no effect, or throws UsageError where
// another text would be expected (--samples with --calibration). Throws Error if the file does not exist.
pipeline::TextSource text_source(const CLI::App& command, const TextChoice& choice, const Common& common,
                                 ProgressSink& progress);

}  // namespace normtweak::cli
