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
void add_text_writing(CLI::App& command, TextChoice& choice);  // the part of it that concerns the writing itself
pipeline::TextSource text_source(const TextChoice& choice, const Common& common);

}  // namespace normtweak::cli
