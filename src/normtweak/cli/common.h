// Options that several subcommands share, and what is done with every subcommand's result.
#pragma once
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "normtweak/base/json.h"
#include "normtweak/base/progress.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::cli {

// For Option::check: what `parse` throws an Error for is a usage error.
CLI::Validator accepted_by(std::function<void(const std::string&)> parse);

// "90s", "5m", "1.5h", "500k-tokens", "2M-tokens". Throws Error saying what is expected.
tweak::Budget parse_budget(const std::string& text);

// An option whose values are the names in a table; its help lists them with their descriptions.
template <class Rows>
CLI::Option* add_choice(CLI::App& command, const std::string& flag, std::string& value, std::string help,
                        const Rows& rows) {
  std::vector<std::string> names;
  for (const auto& row : rows) {
    help += fmt::format("{} {} ({})", names.empty() ? ":" : ";", row.name, row.description);
    names.emplace_back(row.name);
  }
  return command.add_option(flag, value, help)->capture_default_str()->check(CLI::IsMember(names));
}

// Options of every subcommand.
struct Common {
  std::string json;    // file to write the figures to
  bool quiet = false;  // no progress, no summary
  std::string device;  // cpu, cuda, cuda:N; empty: a GPU if there is one
  std::string type;    // of products; empty: what fits the command and the hardware
  std::uint64_t seed = 0;
  std::string memory;          // the most memory to take of the device; empty: what is free
  int threads = 0;             // CPU threads; 0: as many as cores
  bool deterministic = false;  // CUDA: only kernels that give the same bytes each time
};
void add_common(CLI::App& command, Common& common);

// Applies threads, seed and determinism, chooses device and type, and sees whether --json can be written. `fast`: the
// type may be bf16 where the hardware multiplies it; F32 otherwise, unless --dtype says so. several: the work can be
// shared by the processes that torchrun started; otherwise those are refused.
pipeline::Compute start(const Common& common, bool fast, bool several = false);

// A bar on stderr, or nothing with --quiet and in all processes but the first.
std::unique_ptr<ProgressSink> progress_for(const Common& common);

// Adds seed, version and peak memory, writes --json, and prints `summary` unless --quiet. Only the first of several
// processes does anything.
void finish(Json figures, const Common& common, const pipeline::Compute& compute, const std::string& summary);

// Calibration text: --calibration, --text, --samples, --tokens, --strategy, ...
struct TextChoice {
  pipeline::TextSource source;
  std::string languages = "en";
};
void add_text_source(CLI::App& command, TextChoice& choice);
void add_text_writing(CLI::App& command, TextChoice& choice);  // the part of it that concerns the writing itself
pipeline::TextSource text_source(const TextChoice& choice, const Common& common);

// What to report on: --eval-text, --eval-rows, --eval-lambada, --context, --max-tokens, --max-examples.
struct ExternalChoice {
  std::vector<std::string> texts, rows;
  std::string lambada;
  std::int64_t context = 2048, max_tokens = 0, max_examples = 0;
};
void add_external(CLI::App& command, ExternalChoice& choice);
pipeline::External external(const ExternalChoice& choice);

// How to tweak: --tune, --lr, --epochs, --loss, ...
struct TweakChoice {
  std::string method = "end-to-end", start = "none", tune, target = "float-block";
  tweak::Budget budget;
  double rate = 0, scale_rate = 0, zero_rate = 0, rate_growth = 1;
  std::int64_t passes = 0, batch = 0, steps = 0;
  std::string loss = "dist";
  double ridge_lambda = tweak::RidgeOptions{}.lambda;
  bool final_norm = false;
};
// flag: "--tweak" (quantize) or "--method" (tweak)
void add_tweak(CLI::App& command, TweakChoice& choice, const std::string& flag, bool may_be_none);
pipeline::TweakOptions tweak_options(const TweakChoice& choice, const Common& common);

// The few lines that quantize and tweak end with.
std::string run_summary(const pipeline::RunResult& result, const std::string& output);

}  // namespace normtweak::cli
