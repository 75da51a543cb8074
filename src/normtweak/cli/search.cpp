#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>

#include "normtweak/base/error.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/cli/commands.h"
#include "normtweak/cli/grid_options.h"
#include "normtweak/cli/model_help.h"
#include "normtweak/cli/number_checks.h"
#include "normtweak/cli/quantize_options.h"
#include "normtweak/cli/tweak_run_options.h"
#include "normtweak/cli/version.h"
#include "normtweak/model/checkpoint.h"
#include "normtweak/pipeline/model_fingerprint.h"
#include "normtweak/pipeline/output_kind.h"
#include "normtweak/pipeline/save_formats.h"
#include "normtweak/pipeline/search_trials.h"
#include "normtweak/report/run_report.h"

namespace normtweak::cli {
namespace fs = std::filesystem;
namespace {

constexpr const char* kTweak = "--tweak";  // names the tweak method in every trial, though `tweak` calls it --method

struct Choices {
  QuantizeChoice quantize;
  std::string reference;  // of a search over `tweak`; empty: over `quantize`
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

// A command line of `tweak`, as a trial has it.
struct TweakLine {
  TweakLine() : app("", "tweak") { add_tweak_run_options(app, choice, kTweak); }

  TweakRunChoice choice;
  CLI::App app;
};

class Search {
 public:
  Search(CLI::App& command, Choices& choices, ProgressSink& progress);

  Json run();
  std::string summary() const;
  const pipeline::Compute& compute() const { return compute_; }

 private:
  bool tweaks() const { return !choices_.reference.empty(); }
  pipeline::Grid grid();
  void check_files(const pipeline::TextSource& source) const;
  void parse_trial(CLI::App& trial, const Json& flags, const fs::path& output) const;
  pipeline::QuantizeOptions quantize_options_of(const Json& flags, const fs::path& output) const;
  pipeline::TweakRunOptions tweak_options_of(const Json& flags, const fs::path& output) const;
  pipeline::OutputKind output_kind() const;
  std::unique_ptr<pipeline::TrialCommand> trial_command(const pipeline::Grid& grid) const;
  Json settings(const pipeline::Grid& grid) const;

  CLI::App& command_;
  Choices& choices_;
  ProgressSink& progress_;
  pipeline::Compute compute_;
  std::optional<pipeline::SearchTrials> trials_;
};

Search::Search(CLI::App& command, Choices& choices, ProgressSink& progress)
    : command_(command), choices_(choices), progress_(progress) {
  auto& quantize = choices.quantize;
  const auto keys = grid();
  if (!tweaks()) set_defaults(command, quantize, progress);
  if (choices.score_reported && quantize.external.texts.empty() && quantize.external.rows.empty()) {
    fail_usage("--score-reported: needs a text, --eval-text or --eval-rows");
  }
  const auto source = text_source(command, quantize.text, quantize.common, progress);
  compute_ = start(quantize.common, true);
  note_unread_general(command, {}, compute_, progress);
  check_files(source);
  trials_.emplace(pipeline::SearchOptions{.text_model = tweaks() ? choices.reference : quantize.model,
                                          .folder = quantize.output,
                                          .output = output_kind(),
                                          .grid = keys,
                                          .adaptive = choices.adaptive,
                                          .keep = choices.keep,
                                          .score_reported = choices.score_reported,
                                          .text = source,
                                          .compute = compute_,
                                          .settings = settings(keys),
                                          .command = trial_command(keys),
                                          .figures = report::run_report},
                  progress);
}

// Refuses options of how to quantize where the model is quantized already.
pipeline::Grid Search::grid() {
  if (!tweaks()) return parse_grid(choices_.grid, grid_keys(command_), command_);
  const TweakLine line;
  for (const auto* option : command_.get_options([](const CLI::Option* one) { return one->nonpositional(); })) {
    const auto name = option->get_name();
    if (option->empty() || kOwnOptions.contains(name) || line.app.get_option_no_throw(name) != nullptr) continue;
    fail_usage("{}: has no effect with --reference, since MODEL is quantized already; leave it out", name);
  }
  return parse_grid(choices_.grid, grid_keys(line.app), command_);
}

void Search::check_files(const pipeline::TextSource& source) const {
  const auto& quantize = choices_.quantize;
  check_report_apart(quantize.common, quantize.output, {{"MODEL", quantize.model}, {"--reference", choices_.reference}},
                     source, external(command_, quantize.external, silent_progress()));
}

// As if the command of the trials had been called with the settings of one.
void Search::parse_trial(CLI::App& trial, const Json& flags, const fs::path& output) const {
  auto words = given_options(command_);
  for (const auto& [name, value] : flags.items()) {
    words.push_back(fmt::format("--{}={}", name, value.get<std::string>()));
  }
  words.push_back(fmt::format("--output={}", output.string()));
  words.push_back(choices_.quantize.model);
  std::ranges::reverse(words);  // as CLI11 takes them
  try {
    trial.parse(words);
  } catch (const CLI::ParseError& error) {
    fail_usage("{}", error.what());
  }
}

pipeline::QuantizeOptions Search::quantize_options_of(const Json& flags, const fs::path& output) const {
  CLI::App quantize("", "quantize");
  QuantizeChoice choice;
  add_quantize_options(quantize, choice, "");
  parse_trial(quantize, flags, output);
  set_defaults(quantize, choice, silent_progress());
  auto options = quantize_options(quantize, choice, silent_progress());
  options.compute = compute_;
  return options;
}

pipeline::TweakRunOptions Search::tweak_options_of(const Json& flags, const fs::path& output) const {
  TweakLine line;
  parse_trial(line.app, flags, output);
  auto options = tweak_run_options(line.app, line.choice, kTweak, silent_progress());
  options.compute = compute_;
  return options;
}

pipeline::OutputKind Search::output_kind() const {
  if (tweaks()) {
    const auto checkpoint = model::open_checkpoint(choices_.quantize.model);
    const auto kind = pipeline::output_kind_of(checkpoint);
    if (kind == pipeline::OutputKind::file && checkpoint.tensors->files().size() > 1) {
      fail_usage(
          "{}: has several parts, and the models of a search are one file each; merge it first (llama.cpp's "
          "llama-gguf-split --merge)",
          choices_.quantize.model);
    }
    return kind;
  }
  return pipeline::find_save_format(choices_.quantize.format).output;
}

std::unique_ptr<pipeline::TrialCommand> Search::trial_command(const pipeline::Grid& grid) const {
  if (tweaks()) {
    return std::make_unique<pipeline::TweakTrials>(
        [this](const Json& flags, const fs::path& output) { return tweak_options_of(flags, output); });
  }
  return std::make_unique<pipeline::QuantizeTrials>(
      grid, [this](const Json& flags, const fs::path& output) { return quantize_options_of(flags, output); });
}

// What tells a quantized model from another of the same shapes, whose codes are not read for it.
Json files_of(const std::string& model) {
  Json files = Json::object();
  const auto checkpoint = model::open_checkpoint(model);
  for (const fs::path path : checkpoint.tensors->files()) {
    files[path.filename().string()] = {{"bytes", fs::file_size(path)},
                                       {"written", fs::last_write_time(path).time_since_epoch().count()}};
  }
  return files;
}

// What all trials have in common, so that those of an earlier run can be compared with these.
Json Search::settings(const pipeline::Grid& grid) const {
  Json json = {{"version", kVersion},
               {"model", pipeline::model_fingerprint(model::open_checkpoint(choices_.quantize.model))}};
  if (tweaks()) {
    json["reference"] = pipeline::model_fingerprint(model::open_checkpoint(choices_.reference));
    json["quantized"] = files_of(choices_.quantize.model);
  }
  json["options"] = Json::object();
  const std::set<std::string> of_the_machine = {"--device", "--threads", "--memory"};
  for (const auto* option : command_.get_options([](const CLI::Option* one) { return one->nonpositional(); })) {
    const auto name = option->get_name();
    if (option->empty() || kOwnOptions.contains(name) || of_the_machine.contains(name)) continue;
    json["options"][name] = option->results();
  }
  if (!choices_.quantize.plan_file.empty()) json["plan"] = read_json(choices_.quantize.plan_file);
  json["grid"] = Json::array();
  for (const auto& key : grid) json["grid"].push_back(key.name);
  json["score_reported"] = choices_.score_reported;
  return json;
}

Json Search::run() {
  trials_->run();
  Json figures;
  figures["model"] = choices_.quantize.model;
  figures["score"] = {{"metric", "kld"}, {"reported_text", choices_.score_reported}};
  if (choices_.score_reported) {
    progress_.note("the settings were chosen by a text that is reported: its figures flatter the best of them");
  }
  figures["trials"] = Json::array();
  for (const auto* record : trials_->ranked()) {
    Json trial = {
        {"trial", record->number}, {"flags", record->flags}, {"score", record->score}, {"seconds", record->seconds}};
    trial.update(record->figures);
    if (const auto place = trials_->kept_at(*record)) trial["output"] = place->string();
    figures["trials"].push_back(trial);
  }
  return figures;
}

std::string Search::summary() const {
  auto text = fmt::format("{:>5}  {:>10}  {:>8}  {:>8}  {:<10}  settings\n", "trial", "KLD", "bits", "seconds", "kept");
  for (const auto* record : trials_->ranked()) {
    std::vector<std::string> flags;
    for (const auto& [name, value] : record->flags.items()) flags.push_back(name + " " + value.get<std::string>());
    const auto place = trials_->kept_at(*record);
    text += fmt::format("{:>5}  {:>10}  {:>8.3f}  {:>8.1f}  {:<10}  {}{}\n", record->number, figure(record->score),
                        record->figures.value("bits_per_weight", 0.0), record->seconds,
                        record->figures.value("kept", ""), fmt::join(flags, ", "), place ? "  " + place->string() : "");
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
      "With --reference MODEL is quantized already, and the trials only tweak it.\n"
      "Trials in a row that differ only in an end-to-end tweak quantize once: name keys of the tweak last in the "
      "grid.\n"
      "The grid of the paper's open follow-up: --preset follow-up-rtn --grid lr=0,1e-4,1e-5,1e-6,1e-7 --grid\n"
      "lr-scale=0.5,1,5,10");
  add_quantize_options(command, choices->quantize, "Folder for the table of trials, the text and the best models");
  command
      .add_option(
          "--reference", choices->reference,
          model_help("Search over `tweak` of MODEL, which is quantized; the float model that it was made from", false))
      ->group("Search");
  command
      .add_option("--grid", choices->grid,
                  "NAME=VALUE,VALUE,...: an option of how to quantize or tweak, and what to try; repeatable, for all "
                  "combinations. Where values have commas, semicolons stand between them: "
                  "'tune=norms;norms,scales'")
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
