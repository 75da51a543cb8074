// What a search has found so far, in its folder: what was searched, and a line of JSON for each trial.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "normtweak/base/json/json.h"
#include "normtweak/base/progress.h"
#include "normtweak/pipeline/search_grid.h"

namespace normtweak::pipeline {

// One line of trials.jsonl.
struct TrialRecord {
  std::int64_t number = 0;  // from 1, in the order in which they ran
  Json flags;               // {"lr": "1e-4", ...}
  double score = 0;         // the less, the better
  double seconds = 0;
  Json figures;  // kld, perplexity, bits_per_weight, kept, ...
};

class SearchTable {
 public:
  // Continues what `folder` holds, or begins there. settings: all but the grid's values. Throws Error naming the first
  // difference if an earlier search there had other settings, or if a file there is damaged. A last line that a killed
  // run left unfinished is dropped, and a note says so.
  SearchTable(std::filesystem::path folder, const Json& settings, ProgressSink& progress);

  void add(TrialRecord record);  // and writes it
  const std::vector<TrialRecord>& records() const { return records_; }
  const TrialRecord* find(const Json& flags) const;  // null: not done yet
  // From the best to the worst; of equal ones, as of those that all kept the untouched state, the one whose tweaked
  // state came closest to it, and then the first that ran.
  std::vector<const TrialRecord*> ranked() const;

 private:
  void read(ProgressSink& progress);

  std::filesystem::path path_;
  std::vector<TrialRecord> records_;
};

}  // namespace normtweak::pipeline
