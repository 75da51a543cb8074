// What to report on besides the held-out rows: --eval-text, --eval-rows, --eval-lambada, --context, ...
#pragma once
#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "normtweak/cli/general_options.h"
#include "normtweak/cli/named_files.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::cli {

// How texts are cut into windows.
struct WindowChoice {
  std::string protocol = "gptq";
  std::int64_t context = 0, max_tokens = 0;
};
void add_windows(CLI::App& command, WindowChoice& choice, const std::string& group);
inline const std::vector<std::string> kWindowOptions = {"--protocol", "--context", "--max-tokens"};

struct ExternalChoice {
  std::vector<std::string> texts, rows;
  WindowChoice windows;
  std::string lambada;
  std::int64_t max_examples = 0;
};
void add_external(CLI::App& command, ExternalChoice& choice);
// Adds a note for each option that was given but has no effect.
pipeline::External external(const CLI::App& command, const ExternalChoice& choice, ProgressSink& progress);

// Throws UsageError if --json names an input of the run, or a file inside its output folder. The run itself checks
// whether the folder may be written.
void check_report_apart(const Common& common, const std::filesystem::path& output, std::vector<NamedFile> inputs,
                        const pipeline::TextSource& text, const pipeline::External& external);

}  // namespace normtweak::cli
