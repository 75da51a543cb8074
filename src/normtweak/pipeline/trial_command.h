// The command that the trials of a search run: `quantize`, or `tweak` of a model that is quantized.
#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <optional>

#include "normtweak/pipeline/loaded_run.h"
#include "normtweak/pipeline/quantized_run.h"
#include "normtweak/pipeline/search_grid.h"

namespace normtweak::pipeline {

class TrialCommand {
 public:
  TrialCommand() = default;
  TrialCommand(const TrialCommand&) = delete;
  TrialCommand& operator=(const TrialCommand&) = delete;
  virtual ~TrialCommand() = default;

  // Of every trial before the first runs. flags: as trial_flags() gives them. Throws what the command would refuse.
  virtual void check(const Json& flags, const std::filesystem::path& output) = 0;
  // text: in place of that of the options.
  virtual RunResult run(const Json& flags, const std::filesystem::path& output, const TextSource& text,
                        ProgressSink& progress) = 0;
  virtual void forget() = 0;  // what trials share
};

// The options that a command line with these flags and this output stands for.
template <class Options>
using OptionsOf = std::function<Options(const Json& flags, const std::filesystem::path& output)>;

// Trials that differ only in an end-to-end tweak, one right after the other, share one quantization: each starts from
// the same model as a whole run would, and so has the same result.
class QuantizeTrials : public TrialCommand {
 public:
  QuantizeTrials(Grid grid, OptionsOf<QuantizeOptions> options_of)
      : grid_(std::move(grid)), options_of_(std::move(options_of)) {}

  void check(const Json& flags, const std::filesystem::path& output) override;
  RunResult run(const Json& flags, const std::filesystem::path& output, const TextSource& text,
                ProgressSink& progress) override;
  void forget() override { run_.reset(); }

 private:
  Json quantize_flags(Json flags) const;
  const QuantizedRun& quantized(const PreparedQuantize& prepared, const Json& flags, ProgressSink& progress);

  Grid grid_;
  OptionsOf<QuantizeOptions> options_of_;
  std::map<Json, RunNeeds> needs_;   // of memory, of all trials that are quantized with the same flags
  std::optional<QuantizedRun> run_;  // of the last trial, if others can start from it
  Json run_flags_;                   // the flags that decided how it was quantized
};

// Trials that need the same memory, one right after the other, start from the same loaded models.
class TweakTrials : public TrialCommand {
 public:
  explicit TweakTrials(OptionsOf<TweakRunOptions> options_of) : options_of_(std::move(options_of)) {}

  void check(const Json& flags, const std::filesystem::path& output) override;
  RunResult run(const Json& flags, const std::filesystem::path& output, const TextSource& text,
                ProgressSink& progress) override;
  void forget() override { run_.reset(); }

 private:
  OptionsOf<TweakRunOptions> options_of_;
  RunNeeds most_;  // that a tweak of a trial needs of memory
  std::optional<LoadedRun> run_;
  RunNeeds run_needs_;  // of its memory
};

}  // namespace normtweak::pipeline
