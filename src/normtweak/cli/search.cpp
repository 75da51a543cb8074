#include <fmt/ranges.h>

#include <ostream>

#include "normtweak/base/error.h"
#include "normtweak/base/files/path_exists.h"
#include "normtweak/base/files/temporary_path.h"
#include "normtweak/base/stopwatch.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/calibrate/token_batch.h"
#include "normtweak/cli/commands.h"
#include "normtweak/cli/number_checks.h"
#include "normtweak/cli/quantize_options.h"
#include "normtweak/cli/search_grid.h"
#include "normtweak/cli/search_table.h"
#include "normtweak/cli/version.h"
#include "normtweak/pipeline/model_fingerprint.h"
#include "normtweak/pipeline/run.h"
#include "normtweak/pipeline/save_formats.h"
#include "normtweak/pipeline/write_text.h"
#include "normtweak/report/run_report.h"

namespace normtweak::cli {
namespace fs = std::filesystem;
namespace {

struct Choices {
  QuantizeChoice quantize;
  std::vector<std::string> grid;
  int adaptive = 0, keep = 1;
  bool score_reported = false;
};

// Of the command line, these are no settings of a trial.
const std::set<std::string> kOwnOptions = {"--grid",   "--adaptive", "--keep",  "--score-reported",
                                           "--output", "--json",     "--quiet", "--help"};

// The options that the command line gives to all trials, as typed after the subcommand.
std::vector<std::string> given_options(const CLI::App& command) {
  std::vector<std::string> words;
  for (const auto* option : command.get_options([](const CLI::Option* one) { return one->nonpositional(); })) {
    if (kOwnOptions.contains(option->get_name())) continue;
    for (const auto& value : option->results()) words.push_back(fmt::format("{}={}", option->get_name(), value));
  }
  return words;
}

class Search {
 public:
  Search(CLI::App& command, Choices& choices, ProgressSink& progress)
      : command_(command),
        choices_(choices),
        progress_(progress),
        folder_(choices.quantize.output),
        grid_(parse_grid(choices.grid, command)) {
    set_defaults(command, choices.quantize, progress);
    if (choices.score_reported && choices.quantize.external.texts.empty() && choices.quantize.external.rows.empty()) {
      fail_usage("--score-reported: needs a text, --eval-text or --eval-rows");
    }
    source_ = text_source(command, choices.quantize.text, choices.quantize.common, progress);
    compute_ = start(choices.quantize.common, true);
    note_unread_general(command, {}, compute_, progress);
    check_report_apart(choices.quantize.common, folder_, {{"MODEL", choices.quantize.model}}, source_,
                       external(command, choices.quantize.external, silent_progress()));
    check_trials();
  }

  Json run();
  std::string summary() const;
  const pipeline::Compute& compute() const { return compute_; }

 private:
  Json flags_of(const Trial& trial) const;
  pipeline::QuantizeOptions options_of(const Trial& trial, const fs::path& output) const;
  void check_trials() const;
  Json settings() const;
  void make_text();
  fs::path output_of(std::int64_t number) const;
  void run_trial(const Trial& trial);
  void run_grid();
  void run_adaptive();
  void keep_best() const;
  double score_of(const Json& figures) const;
  bool is_kept(const TrialRecord& record) const { return path_exists(output_of(record.number)); }

  CLI::App& command_;
  Choices& choices_;
  ProgressSink& progress_;
  fs::path folder_;
  Grid grid_;
  pipeline::TextSource source_;
  pipeline::Compute compute_;
  std::optional<SearchTable> table_;
};

Json Search::flags_of(const Trial& trial) const {
  auto flags = Json::object();
  for (std::size_t key = 0; key < grid_.size(); ++key) flags[grid_[key].name] = grid_[key].values[trial[key]];
  return flags;
}

// As if `quantize` had been called with the settings of the trial.
pipeline::QuantizeOptions Search::options_of(const Trial& trial, const fs::path& output) const {
  CLI::App quantize("", "quantize");
  QuantizeChoice choice;
  add_quantize_options(quantize, choice, "");
  auto words = given_options(command_);
  const auto flags = flags_of(trial);
  for (const auto& [name, value] : flags.items()) {
    words.push_back(fmt::format("--{}={}", name, value.get<std::string>()));
  }
  words.push_back(fmt::format("--output={}", output.string()));
  words.push_back(choices_.quantize.model);
  std::ranges::reverse(words);  // as CLI11 takes them
  try {
    quantize.parse(words);
  } catch (const CLI::ParseError& error) {
    fail_usage("{}", error.what());
  }
  set_defaults(quantize, choice, silent_progress());
  auto options = quantize_options(quantize, choice, silent_progress());
  options.compute = compute_;
  return options;
}

// Each trial is refused for what `quantize` would refuse, before any work, and before the folder is made.
void Search::check_trials() const {
  const auto output =
      path_exists(folder_) ? output_of(0) : fs::path(folder_.string() + output_of(0).extension().string());
  for (const auto& trial : all_trials(grid_)) {
    const auto of_trial = [&](const Error& error) {
      return fmt::format("the trial with {}: {}", trial_text(grid_, trial), error.what());
    };
    try {
      const pipeline::PreparedQuantize prepared(options_of(trial, output), silent_progress());
    } catch (const UsageError& error) {
      fail_usage("{}", of_trial(error));
    } catch (const Error& error) {
      fail("{}", of_trial(error));
    }
  }
}

// What all trials have in common, so that those of an earlier run can be compared with these.
Json Search::settings() const {
  Json json = {{"version", kVersion},
               {"model", pipeline::model_fingerprint(model::open_checkpoint(choices_.quantize.model))}};
  json["options"] = Json::object();
  const std::set<std::string> of_the_machine = {"--device", "--threads", "--memory"};
  for (const auto* option : command_.get_options([](const CLI::Option* one) { return one->nonpositional(); })) {
    const auto name = option->get_name();
    if (option->empty() || kOwnOptions.contains(name) || of_the_machine.contains(name)) continue;
    json["options"][name] = option->results();
  }
  if (!choices_.quantize.plan_file.empty()) json["plan"] = read_json(choices_.quantize.plan_file);
  json["grid"] = Json::array();
  for (const auto& key : grid_) json["grid"].push_back(key.name);
  json["score_reported"] = choices_.score_reported;
  return json;
}

// One text for all trials, made once and kept beside the table.
void Search::make_text() {
  if (!source_.ids.empty()) return;
  const auto file = folder_ / "text.safetensors";
  if (!path_exists(file)) {
    const auto checkpoint = model::open_checkpoint(choices_.quantize.model);
    const auto known = pipeline::known_text(source_, checkpoint);
    calibrate::save_token_batch(file, pipeline::write_text(known, source_, checkpoint, compute_, progress_).batch);
  }
  source_ = {.ids = file, .real_text = {}, .self = {}};
}

fs::path Search::output_of(std::int64_t number) const {
  const bool is_file = pipeline::find_save_format(choices_.quantize.format).output == pipeline::OutputKind::file;
  return folder_ / fmt::format("trial-{:03}{}", number, is_file ? ".gguf" : "");
}

double Search::score_of(const Json& figures) const {
  const auto& text = choices_.score_reported ? figures.at("evaluations").at(0) : figures;
  return text.at("kld").at("tweaked").get<double>();
}

void Search::run_trial(const Trial& trial) {
  const auto number = static_cast<std::int64_t>(table_->records().size()) + 1;
  progress_.note(fmt::format("trial {}: {}", number, trial_text(grid_, trial)));
  const Stopwatch watch;
  auto options = options_of(trial, output_of(number));
  options.text = source_;
  const auto figures = report::run_report(pipeline::quantize_model(options, progress_));
  TrialRecord record = {
      .flags = flags_of(trial), .score = score_of(figures), .seconds = watch.seconds(), .figures = {}};
  for (const auto* key : {"bits_per_weight", "perplexity", "kld", "rejected", "evaluations"}) {
    if (figures.contains(key)) record.figures[key] = figures[key];
  }
  record.figures["kept"] = figures.at("guard").at("kept");
  table_->add(record);
  keep_best();
}

void Search::run_grid() {
  for (const auto& trial : all_trials(grid_)) {
    if (table_->find(flags_of(trial)) == nullptr) run_trial(trial);
  }
}

void Search::run_adaptive() {
  std::map<Trial, double> scores;
  for (const auto& trial : all_trials(grid_)) {
    if (const auto* record = table_->find(flags_of(trial))) scores[trial] = record->score;
  }
  while (static_cast<int>(scores.size()) < choices_.adaptive) {
    const auto trial = next_trial(grid_, scores);
    if (!trial) return;
    run_trial(*trial);
    scores[*trial] = table_->records().back().score;
  }
}

void Search::keep_best() const {
  const auto ranked = table_->ranked();
  for (std::size_t place = static_cast<std::size_t>(choices_.keep); place < ranked.size(); ++place) {
    remove_tree(output_of(ranked[place]->number));
  }
}

Json Search::run() {
  table_.emplace(folder_, settings(), progress_);
  make_text();
  if (!table_->records().empty()) {
    progress_.note(fmt::format("{}: goes on after {}", folder_.string(),
                               counted(static_cast<std::int64_t>(table_->records().size()), "trial")));
  }
  if (choices_.adaptive > 0) {
    run_adaptive();
  } else {
    run_grid();
  }
  Json figures;
  figures["model"] = choices_.quantize.model;
  figures["score"] = {{"metric", "kld"}, {"reported_text", choices_.score_reported}};
  if (choices_.score_reported) {
    progress_.note("the settings were chosen by a text that is reported: its figures flatter the best of them");
  }
  figures["trials"] = Json::array();
  for (const auto* record : table_->ranked()) {
    Json trial = {
        {"trial", record->number}, {"flags", record->flags}, {"score", record->score}, {"seconds", record->seconds}};
    trial.update(record->figures);
    if (is_kept(*record)) trial["output"] = output_of(record->number).string();
    figures["trials"].push_back(trial);
  }
  return figures;
}

std::string Search::summary() const {
  auto text = fmt::format("{:>5}  {:>10}  {:>8}  {:>8}  {:<10}  settings\n", "trial", "KLD", "bits", "seconds", "kept");
  for (const auto* record : table_->ranked()) {
    std::vector<std::string> flags;
    for (const auto& [name, value] : record->flags.items()) flags.push_back(name + " " + value.get<std::string>());
    text +=
        fmt::format("{:>5}  {:>10}  {:>8.3f}  {:>8.1f}  {:<10}  {}{}\n", record->number, figure(record->score),
                    record->figures.value("bits_per_weight", 0.0), record->seconds, record->figures.value("kept", ""),
                    fmt::join(flags, ", "), is_kept(*record) ? "  " + output_of(record->number).string() : "");
  }
  return text;
}

}  // namespace

Job add_search(CLI::App& command) {
  auto choices = std::make_shared<Choices>();
  command.footer(
      "Scored by the KL divergence of the saved model on held-out rows of the text, which is made once, for all\n"
      "trials. The best of many scores on the same rows is a little too good; `eval` on another text tells. DIR holds\n"
      "a line for each trial in trials.jsonl, and the best models. The same command goes on where it was stopped.\n"
      "The grid of the paper's open follow-up: --preset follow-up-rtn --grid lr=0,1e-4,1e-5,1e-6,1e-7 --grid\n"
      "lr-scale=0.5,1,5,10");
  add_quantize_options(command, choices->quantize, "Folder for the table of trials, the text and the best models");
  command
      .add_option("--grid", choices->grid,
                  "NAME=VALUE,VALUE,...: an option of how to quantize or tweak, and what to try; repeatable, for all "
                  "combinations")
      ->required()
      ->allow_extra_args(false)
      ->group("Search");
  command
      .add_option("--adaptive", choices->adaptive,
                  "Only so many trials: from the middle of the grid to the neighbours of the best")
      ->check(within(kPositiveCount))
      ->group("Search");
  command.add_option("--keep", choices->keep, "So many of the best models are kept")
      ->capture_default_str()
      ->check(within(kPositiveCount))
      ->group("Search");
  command
      .add_flag("--score-reported", choices->score_reported,
                "Score by the first of --eval-rows and --eval-text instead, which is then no held-out text any more")
      ->group("Search");
  return [choices, &command] {
    const auto progress = progress_for(choices->quantize.common);
    Search search(command, *choices, *progress);
    const auto figures = search.run();
    finish(figures, choices->quantize.common, search.compute(), search.summary());
  };
}

}  // namespace normtweak::cli
