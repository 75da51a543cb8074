// Runs `quantize` or `tweak` with the settings of a grid, one trial after the other, and keeps the best models.
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>

#include "normtweak/pipeline/output_kind.h"
#include "normtweak/pipeline/search_grid.h"
#include "normtweak/pipeline/search_table.h"
#include "normtweak/pipeline/trial_command.h"

namespace normtweak::pipeline {

struct SearchOptions {
  std::string text_model;        // the float model, which writes the text
  std::filesystem::path folder;  // of the table, the text and the best models
  OutputKind output = OutputKind::folder;
  Grid grid;
  int adaptive = 0;             // only so many trials, those of next_trial(); 0: all
  int keep = 1;                 // so many of the best models stay
  bool score_reported = false;  // score by the first reported text instead of the rows that confirm
  TextSource text;              // of all trials; made once, unless it is a file of ids
  Compute compute;
  Json settings;  // what all trials have in common; a folder of an earlier search with others is refused
  std::unique_ptr<TrialCommand> command;
  std::function<Json(const RunResult& result)> figures;  // the report of a run
};

class SearchTrials {
 public:
  // Checks all trials: each is refused for what its command would refuse, before any work, and before the folder is
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
  void run_trial(const Trial& trial);
  void run_grid();
  void run_adaptive();
  void keep_best() const;
  double score_of(const Json& figures) const;

  SearchOptions options_;
  ProgressSink& progress_;
  std::optional<SearchTable> table_;
};

}  // namespace normtweak::pipeline
