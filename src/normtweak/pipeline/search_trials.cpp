#include "normtweak/pipeline/search_trials.h"

#include <fmt/format.h>

#include <utility>

#include "normtweak/base/error.h"
#include "normtweak/base/files/path_exists.h"
#include "normtweak/base/files/temporary_path.h"
#include "normtweak/base/stopwatch.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/calibrate/token_batch.h"
#include "normtweak/pipeline/write_text.h"

namespace normtweak::pipeline {
namespace fs = std::filesystem;
SearchTrials::SearchTrials(SearchOptions options, ProgressSink& progress)
    : options_(std::move(options)), progress_(progress) {
  check_trials();
}

void SearchTrials::check_trials() {
  const auto output = path_exists(options_.folder)
                          ? output_of(0)
                          : fs::path(options_.folder.string() + output_of(0).extension().string());
  for (const auto& trial : all_trials(options_.grid)) {
    const auto of_trial = [&](const Error& error) {
      return fmt::format("the trial with {}: {}", trial_text(options_.grid, trial), error.what());
    };
    try {
      options_.command->check(trial_flags(options_.grid, trial), output);
    } catch (const UsageError& error) {
      fail_usage("{}", of_trial(error));
    } catch (const Error& error) {
      fail("{}", of_trial(error));
    }
  }
}

// One text for all trials, made once and kept beside the table.
void SearchTrials::make_text() {
  auto& source = options_.text;
  if (!source.ids.empty()) return;
  const auto file = options_.folder / "text.safetensors";
  if (!path_exists(file)) {
    const auto checkpoint = model::open_checkpoint(options_.text_model);
    const auto known = known_text(source, checkpoint);
    calibrate::save_token_batch(file, write_text(known, source, checkpoint, options_.compute, progress_).batch);
  }
  source = {.ids = file, .real_text = {}, .self = source.self};
}

fs::path SearchTrials::output_of(std::int64_t number) const {
  return options_.folder / fmt::format("trial-{:03}{}", number, options_.output == OutputKind::file ? ".gguf" : "");
}

std::optional<fs::path> SearchTrials::kept_at(const TrialRecord& record) const {
  const auto output = output_of(record.number);
  return path_exists(output) ? std::optional(output) : std::nullopt;
}

double SearchTrials::score_of(const Json& figures) const {
  const auto& text = options_.score_reported ? figures.at("evaluations").at(0) : figures;
  return text.at("kld").at("tweaked").get<double>();
}

void SearchTrials::run_trial(const Trial& trial) {
  const auto number = static_cast<std::int64_t>(table_->records().size()) + 1;
  progress_.note(fmt::format("trial {}: {}", number, trial_text(options_.grid, trial)));
  const Stopwatch watch;
  const auto flags = trial_flags(options_.grid, trial);
  const auto result = options_.command->run(flags, output_of(number), options_.text, progress_);
  const auto figures = options_.figures(result);
  TrialRecord record = {.flags = flags, .score = score_of(figures), .seconds = watch.seconds(), .figures = {}};
  for (const auto* key : {"bits_per_weight", "perplexity", "kld", "rejected", "evaluations"}) {
    if (figures.contains(key)) record.figures[key] = figures[key];
  }
  record.figures["kept"] = figures.at("guard").at("kept");
  table_->add(record);
  keep_best();
}

void SearchTrials::run_grid() {
  for (const auto& trial : all_trials(options_.grid)) {
    if (table_->find(trial_flags(options_.grid, trial)) == nullptr) run_trial(trial);
  }
}

void SearchTrials::run_adaptive() {
  std::map<Trial, double> scores;
  for (const auto& trial : all_trials(options_.grid)) {
    if (const auto* record = table_->find(trial_flags(options_.grid, trial))) scores[trial] = record->score;
  }
  while (static_cast<int>(scores.size()) < options_.adaptive) {
    const auto trial = next_trial(options_.grid, scores);
    if (!trial) return;
    run_trial(*trial);
    scores[*trial] = table_->records().back().score;
  }
}

void SearchTrials::keep_best() const {
  const auto ranked = table_->ranked();
  for (auto place = static_cast<std::size_t>(options_.keep); place < ranked.size(); ++place) {
    remove_tree(output_of(ranked[place]->number));
  }
}

void SearchTrials::run() {
  table_.emplace(options_.folder, options_.settings, progress_);
  make_text();
  if (!table_->records().empty()) {
    progress_.note(fmt::format("{}: goes on after {}", options_.folder.string(),
                               counted(static_cast<std::int64_t>(table_->records().size()), "trial")));
  }
  if (options_.adaptive > 0) {
    run_adaptive();
  } else {
    run_grid();
  }
  options_.command->forget();
}

}  // namespace normtweak::pipeline
