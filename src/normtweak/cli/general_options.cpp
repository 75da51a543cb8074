#include "normtweak/cli/general_options.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "normtweak/base/device/device.h"
#include "normtweak/base/device/memory.h"
#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"
#include "normtweak/base/files/writable.h"
#include "normtweak/cli/choices.h"
#include "normtweak/cli/job.h"
#include "normtweak/cli/number_checks.h"
#include "normtweak/cli/progress_bar.h"
#include "normtweak/cli/version.h"

namespace normtweak::cli {

void add_common(CLI::App& command, Common& common) {
  command.add_option("--json", common.json, "Write the figures to this file")->group("General");
  command.add_flag("--quiet", common.quiet, "No progress, no summary")->group("General");
  command
      .add_option("--device", common.device,
                  "cpu, cuda or cuda:N (default: a GPU if there is one; with torchrun, one per process)")
      ->check(accepted_by([](const std::string& name) { parse_device(name); }))
      ->group("General");
  command
      .add_option(
          "--dtype", common.type,
          "Compute dtype, that of matrix products: f32 or bf16 (default: f32 for eval and logits; otherwise bf16 "
          "on GPUs and on CPUs with fast bf16 products)")
      ->check(CLI::IsMember({"f32", "bf16", "float32", "bfloat16"}))
      ->group("General");
  command.add_option("--seed", common.seed, "Seed of everything random")
      ->capture_default_str()
      ->check(within(kSeed))
      ->group("General");
  command.add_option("--threads", common.threads, "CPU threads (default: all cores)")
      ->check(within(kThreads))
      ->group("General");
  command
      .add_option(
          "--memory", common.memory,
          "Limit on device memory, such as 16GiB or 800MiB; blocks that do not fit are streamed from host memory; "
          "on a CPU it plans the run, but caps nothing (default: what is free)")
      ->check(accepted_by([](const std::string& size) { parse_bytes(size); }))
      ->group("General");
  command
      .add_flag("--deterministic", common.deterministic,
                "On a GPU: bit-identical results in every run, somewhat slower")
      ->group("General");
}

pipeline::Compute start(const Common& common, bool fast, bool several) {
  if (rank_on_machine() && !several) fail("this command runs in one process; start it without torchrun");
  if (!common.json.empty()) check_file_target(common.json);
  if (common.threads > 0) at::set_num_threads(common.threads);
  pipeline::Compute compute;
  compute.device = choose_device(common.device, rank_on_machine());
  if (!common.memory.empty()) {
    compute.memory = parse_bytes(common.memory);
    limit_device_memory(compute.device, compute.memory);
  }
  if (common.deterministic) at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  if (compute.device.is_cuda()) {
    // cuDNN attention builds a plan for every new sequence length, which takes longer than a decoding step.
    at::globalContext().setSDPUseCuDNN(false);
    // cuBLAS is deterministic only with a workspace of fixed size.
    if (common.deterministic) ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);
  }
  if (!common.type.empty()) {
    compute.type = parse_float_type(common.type);
  } else if (fast && has_fast_bf16(compute.device)) {
    compute.type = at::kBFloat16;
  }
  compute.processes = connect_processes(compute.device);
  return compute;
}

void note_unread_general(const CLI::App& command, const Idle& idle, const pipeline::Compute& compute,
                         ProgressSink& progress) {
  if (!idle.no_chance.empty()) note_unread(command, idle.no_chance, {"--seed"}, progress);
  if (!idle.no_computing.empty()) {
    note_unread(command, idle.no_computing, {"--device", "--dtype", "--memory", "--deterministic"}, progress);
  } else if (compute.device.is_cpu()) {
    note_unread(command, "on a CPU, where every run gives the same bytes", {"--deterministic"}, progress);
  }
}

std::unique_ptr<ProgressSink> progress_for(const Common& common) {
  class Quiet : public ProgressSink {
    void report(const ProgressReport&) override {}
    void note(std::string_view) override {}
  };
  if (common.quiet || !is_first_process()) return std::make_unique<Quiet>();
  return std::make_unique<ProgressBar>();
}

void print(const std::string& text) {
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
    fail("standard output: cannot be written: {}", std::strerror(errno));
  }
}

void finish(Json figures, const Common& common, const pipeline::Compute& compute, const std::string& summary) {
  if (!is_first_process()) return;
  if (compute.processes.size() > 1) figures["processes"] = compute.processes.size();
  figures["seconds"]["total"] = common.watch.seconds();
  figures["peak_memory_bytes"] = peak_memory_bytes(compute.device);
  figures["device"] = compute.device.str();
  figures["dtype"] = float_type_name(compute.type);
  figures["threads"] = at::get_num_threads();
  figures["seed"] = common.seed;
  figures["version"] = kVersion;
  if (!common.json.empty()) {
    // Names of files need not be UTF-8, which JSON is.
    const auto text = figures.dump(2, ' ', false, Json::error_handler_t::replace);
    write_file_atomically(common.json, [&](std::ostream& file) { file << text << "\n"; });
  }
  if (!common.quiet) print(summary);
}

}  // namespace normtweak::cli
