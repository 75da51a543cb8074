#include <algorithm>
#include <ostream>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"
#include "normtweak/base/files/writable.h"
#include "normtweak/cli/choices.h"
#include "normtweak/cli/commands.h"
#include "normtweak/cli/general_options.h"
#include "normtweak/cli/named_files.h"
#include "normtweak/cli/number_checks.h"
#include "normtweak/cli/side_by_side.h"
#include "normtweak/model/continuation.h"
#include "normtweak/pipeline/memory_plan.h"
#include "normtweak/text/tokenizer.h"

namespace normtweak::cli {
namespace {

struct Choices {
  std::vector<std::string> models, prompts;
  std::string reference, page;
  model::ContinuationOptions options;
  double temperature = 0;
  Common common;
};

void check_files(const Choices& choices) {
  std::vector<NamedFile> read = {{"--reference", choices.reference}};
  for (const auto& model : choices.models) read.push_back({"MODEL", model});
  check_apart({{"--html", choices.page}, {"--json", choices.common.json}}, read);
  if (!choices.page.empty()) check_file_target(choices.page);
}

void check_sampling(const CLI::App& command, Choices& choices) {
  auto& options = choices.options;
  options.greedy = choices.temperature == 0;
  options.seed = choices.common.seed;
  if (options.greedy) {
    refuse_unread(command, "with --temperature 0", {"--top-k", "--top-p"});
  } else {
    options.sampling.temperature = choices.temperature;
  }
}

// The float model first: --reference, or the first of several.
struct Models {
  std::vector<model::Checkpoint> checkpoints;
  std::vector<std::string> names;
  bool have_reference = false;
};

// All are opened first, so that a mistake in the last name is not found after the work for the others.
Models open(const Choices& choices, ProgressSink& progress) {
  Models models = {.checkpoints = {}, .names = choices.models, .have_reference = false};
  if (!choices.reference.empty()) {
    std::erase(models.names, choices.reference);
    models.names.insert(models.names.begin(), choices.reference);
  }
  models.have_reference = models.names.size() > 1;
  for (const auto& name : models.names) {
    models.checkpoints.push_back(model::open_checkpoint(name));
    report_notes(models.checkpoints.back(), progress);
    load_tokenizer(models.checkpoints.back());
    const auto& first = models.checkpoints.front().numbers;
    if (const auto& found = models.checkpoints.back().numbers; found.vocabulary != first.vocabulary) {
      fail("{} and {} have vocabularies of {} and {} tokens; they cannot be compared", name, models.names.front(),
           found.vocabulary, first.vocabulary);
    }
  }
  return models;
}

class Sampler {
 public:
  Sampler(const Models& models, const Choices& choices, const pipeline::Compute& compute, ProgressSink& progress)
      : models_(models), choices_(choices), compute_(compute), progress_(progress) {}

  // For each prompt in turn, those of all models.
  std::vector<Sample> samples() {
    std::vector<std::vector<Sample>> by_model;
    for (std::size_t i = 0; i < models_.names.size(); ++i) {
      const bool compared = i > 0 && models_.have_reference;
      by_model.push_back(samples_of(i, compared ? &by_model.front() : nullptr));
    }
    std::vector<Sample> all;
    for (std::size_t prompt = 0; prompt < choices_.prompts.size(); ++prompt) {
      for (auto& samples : by_model) all.push_back(std::move(samples[prompt]));
    }
    return all;
  }

 private:
  // theirs: the reference's, which is loaded beside the model; null: there is none.
  std::vector<Sample> samples_of(std::size_t index, const std::vector<Sample>* theirs) {
    std::vector<const model::Checkpoint*> together = {&models_.checkpoints[index]};
    if (theirs != nullptr) together.push_back(&models_.checkpoints.front());
    const auto load = pipeline::plan_models(together, compute_, pipeline::available_memory(compute_));
    const auto decoder = load_decoder(*together.front(), load);
    std::optional<model::Decoder> reference;
    if (theirs != nullptr) reference = load_decoder(*together.back(), load);
    std::vector<Sample> samples;
    for (std::size_t i = 0; i < choices_.prompts.size(); ++i) {
      Sample sample;
      sample.model = models_.names[index];
      sample.prompt = choices_.prompts[i];
      sample.continuation = continuation(*together.front(), decoder, choices_.prompts[i], choices_.options, progress_);
      if (theirs != nullptr) {
        sample.divergences = divergences(*reference, decoder, sample.continuation);
        sample.parts_at = first_difference(sample.continuation.written, (*theirs)[i].continuation.written);
      }
      samples.push_back(std::move(sample));
    }
    return samples;
  }

  const Models& models_;
  const Choices& choices_;
  const pipeline::Compute& compute_;
  ProgressSink& progress_;
};

void run(const CLI::App& command, Choices& choices) {
  check_files(choices);
  const auto compute = start(choices.common, false);
  const auto progress = progress_for(choices.common);
  check_sampling(command, choices);
  const auto models = open(choices, *progress);
  const auto samples = Sampler(models, choices, compute, *progress).samples();
  const auto& reference = models.names.front();
  Json figures;
  if (models.have_reference) figures["reference"] = reference;
  std::string lines;
  for (const auto& sample : samples) {
    figures["samples"].push_back(sample_figures(sample));
    lines += sample_text(sample, reference);
  }
  if (!choices.page.empty()) {
    const auto page = samples_page(samples, models.names.size(), reference);
    write_file_atomically(choices.page, [&](std::ostream& file) { file << page; });
  }
  finish(figures, choices.common, compute, lines);
}

}  // namespace

Job add_sample(CLI::App& command) {
  auto choices = std::make_shared<Choices>();
  command.footer(
      "The models go on with the same prompts: the float, the quantized, the tweaked one. Beside several, it is said\n"
      "where each parts from the first, and how far its next-token distributions are from that model's on its own "
      "text\n"
      "(KL divergence, nats).");
  command.add_option("MODEL", choices->models, "One model or more; the first is the float model")->required();
  command.add_option("--prompt", choices->prompts, "The beginning of the text; repeatable")
      ->required()
      ->allow_extra_args(false);
  command.add_option("--reference", choices->reference, "The float model to compare with, in place of the first one");
  command.add_option("--html", choices->page, "Also write a page that shows the texts side by side");
  command.add_option("--tokens", choices->options.tokens, "At most this many tokens after the prompt")
      ->capture_default_str()
      ->check(within(kPositiveCount));
  command.add_option("--temperature", choices->temperature, "Sampling temperature; 0: the likeliest token every time")
      ->capture_default_str()
      ->check(within(kNonnegative));
  command.add_option("--top-k", choices->options.sampling.top_k, "Sample from the k likeliest tokens; 0: from all")
      ->capture_default_str()
      ->check(within(kCount));
  command
      .add_option("--top-p", choices->options.sampling.top_p,
                  "Sample from the likeliest tokens whose probabilities sum to this")
      ->capture_default_str()
      ->check(within(kPositiveShare));
  add_common(command, choices->common);
  return [choices, &command] { run(command, *choices); };
}

}  // namespace normtweak::cli
