// Options common to all subcommands, and what every subcommand does before and after its work.
#pragma once
#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "normtweak/base/json/json.h"
#include "normtweak/base/progress.h"
#include "normtweak/base/stopwatch.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::cli {

struct Common {
  std::string json;    // file to write the figures to
  bool quiet = false;  // no progress, no summary
  std::string device;  // cpu, cuda, cuda:N; empty: a GPU if there is one
  std::string type;    // compute dtype; empty: chosen for the command and the hardware
  std::uint64_t seed = 0;
  std::string memory;          // limit on device memory; empty: what is free
  int threads = 0;             // CPU threads; 0: one per core
  bool deterministic = false;  // CUDA: deterministic kernels only
  Stopwatch watch;             // started with the program
};
void add_common(CLI::App& command, Common& common);

// Sets the number of threads and determinism, chooses device and compute dtype, connects the processes, and checks that
// --json can be written. The seed is not applied here; each random step takes it as an option. fast: the compute dtype
// defaults to bf16 on hardware with fast bf16 products, and to F32 otherwise. several: torchrun may start several
// processes; if false, that is refused.
pipeline::Compute start(const Common& common, bool fast, bool several = false);

// Why a command does not read some of the general options; empty: it reads them.
struct Idle {
  std::string no_computing = {};  // --device, --dtype, --memory and --deterministic
  std::string no_chance = {};     // --seed
};
// Adds a note for each general option that was given but has no effect.
void note_unread_general(const CLI::App& command, const Idle& idle, const pipeline::Compute& compute,
                         ProgressSink& progress);

// A progress bar on stderr; silent with --quiet and on all ranks but 0.
std::unique_ptr<ProgressSink> progress_for(const Common& common);

// Prints to standard output; throws Error if that fails.
void print(const std::string& text);

// Adds device, dtype, threads, seed, version, peak memory and the seconds since the program's start to the figures,
// writes --json, and prints `summary` unless --quiet. Does nothing on ranks other than 0.
void finish(Json figures, const Common& common, const pipeline::Compute& compute, const std::string& summary);

}  // namespace normtweak::cli
