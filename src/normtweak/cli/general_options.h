// The options of every subcommand, and what each does before and after its work.
#pragma once
#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "normtweak/base/json.h"
#include "normtweak/base/progress.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::cli {

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

// On standard output; throws Error if that cannot be written.
void print(const std::string& text);

// Adds seed, version and peak memory, writes --json, and prints `summary` unless --quiet. Only the first of several
// processes does anything.
void finish(Json figures, const Common& common, const pipeline::Compute& compute, const std::string& summary);

}  // namespace normtweak::cli
