// Runs `quantize` with the settings of a grid, one trial after the other, and keeps the best models.
#pragma once
#include <filesystem>
#include <functional>
#include <optional>

#include "normtweak/pipeline/output_kind.h"
#include "normtweak/pipeline/quantized_run.h"
#include "normtweak/pipeline/search_grid.h"
#include "normtweak/pipeline/search_table.h"

namespace normtweak::pipeline {

struct SearchOptions {
  std::string model;
  std::filesystem::path folder;  // of the table, the text and the best models
  OutputKind output = OutputKind::folder;
  Grid grid;
  int adaptive = 0;             // only so many trials, those of next_trial(); 0: all
  int keep = 1;                 // so many of the best models stay
  bool score_reported = false;  // score by the first reported text instead of the rows that confirm
  TextSource text;              // of all trials; made once, unless it is a file of ids
  Compute compute;
  Json settings;  // what all trials have in common; a folder of an earlier search with others is refused
  // What `quantize` would run with these flags (as trial_flags() gives them) and this output. Throws as it would.
  std::function<QuantizeOptions(const Json& flags, const std::filesystem::path& output)> options_of;
  std::function<Json(const RunResult& result)> figures;  // the report of a run
};

// Trials that differ only in an end-to-end tweak, one right after the other, share one quantization: each starts from
// the same model as a whole run would, and so has the same result.
class SearchTrials {
 public:
  // Checks all trials: each is refused for what `quantize` would refuse, before any work, and before the folder is
  // made.
  SearchTrials(SearchOptions options, ProgressSink& progress);

  // Goes on where an earlier search in the folder has stopped.
  void run();

  // What was found, the best first: those of SearchTable::ranked().
  std::vector<const TrialRecord*> ranked() const { return table_->ranked(); }
  // Where the model of a trial is; nullopt: it is not kept.
  std::optional<std::filesystem::path> kept_at(const TrialRecord& record) const;

 private:
  void check_trials();
  void make_text();
  std::filesystem::path output_of(std::int64_t number) const;
  const QuantizedRun& quantized(const PreparedQuantize& prepared, const Trial& trial);
  void run_trial(const Trial& trial);
  void run_grid();
  void run_adaptive();
  void keep_best() const;
  double score_of(const Json& figures) const;

  SearchOptions options_;
  ProgressSink& progress_;
  std::int64_t tuned_floats_ = 0;  // the most that a trial tunes
  std::optional<SearchTable> table_;
  std::optional<QuantizedRun> run_;  // of the last trial, if others can start from it
  Json run_flags_;                   // the flags that decided how it was quantized
};

}  // namespace normtweak::pipeline
