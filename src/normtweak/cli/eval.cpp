#include <set>

#include "normtweak/base/error.h"
#include "normtweak/cli/choices.h"
#include "normtweak/cli/commands.h"
#include "normtweak/cli/evaluation_summary.h"
#include "normtweak/cli/general_options.h"
#include "normtweak/cli/model_help.h"
#include "normtweak/cli/named_files.h"
#include "normtweak/cli/number_checks.h"
#include "normtweak/cli/report_options.h"
#include "normtweak/pipeline/evaluate_model.h"
#include "normtweak/report/evaluation_report.h"

namespace normtweak::cli {
namespace {

struct Choices {
  pipeline::EvaluateOptions options;
  std::string text, rows, lambada;
  std::vector<std::string> tasks;  // NAME=FILE
  bool drift = false, drift_channels = false;
  WindowChoice windows;
  std::int64_t max_examples = 0;
  Common common;
};

evaluate::TaskOrder parse_task(const std::string& text) {
  const auto sign = text.find('=');
  if (sign == std::string::npos || sign + 1 == text.size()) {
    fail_usage("--task {}: NAME=FILE is needed, such as hellaswag=validation.jsonl", text);
  }
  const auto& task = evaluate::find_task(text.substr(0, sign));
  if (task.fields.empty()) {
    fail_usage("--task {}: this task reads a text; name that with --text or --rows", task.name);
  }
  return {.task = std::string(task.name), .text = {.path = text.substr(sign + 1)}};
}

// Figures are told apart by their task and the name of its file.
void refuse_twice(const std::vector<evaluate::TaskOrder>& orders) {
  std::set<std::pair<std::string, std::string>> seen;
  for (const auto& order : orders) {
    const auto file = order.text.path.filename().string();
    if (seen.emplace(order.task, file).second) continue;
    fail_usage(
        "--task {}: given twice with a file {}, so that its figures could not be told apart; leave one out or "
        "rename a file",
        order.task, file);
  }
}

std::vector<evaluate::TaskOrder> orders(const Choices& choices) {
  std::vector<evaluate::TaskOrder> all;
  if (!choices.text.empty() || !choices.rows.empty()) {
    const auto& [protocol, context, max_tokens] = choices.windows;
    const bool rows = choices.text.empty();
    const evaluate::TextFile text = {.path = rows ? choices.rows : choices.text,
                                     .rows = rows,
                                     .protocol = protocol,
                                     .context = context,
                                     .max_tokens = max_tokens};
    all.push_back({.task = "perplexity", .text = text});
    if (choices.drift) all.push_back({.task = "drift", .text = text, .channels = choices.drift_channels});
  }
  if (!choices.lambada.empty()) all.push_back({.task = "lambada_openai", .text = {.path = choices.lambada}});
  for (const auto& task : choices.tasks) all.push_back(parse_task(task));
  for (auto& order : all) order.max_examples = choices.max_examples;
  refuse_twice(all);
  return all;
}

std::vector<NamedFile> inputs(const Choices& choices, const std::vector<evaluate::TaskOrder>& tasks) {
  std::vector<NamedFile> files = {{"MODEL", choices.options.model},
                                  {"--reference", choices.options.reference},
                                  {"--text", choices.text},
                                  {"--rows", choices.rows},
                                  {"--lambada", choices.lambada}};
  for (const auto& order : tasks) files.push_back({"--task", order.text.path});
  return files;
}

void check_choices(const CLI::App& command, const Choices& choices, ProgressSink& progress) {
  const bool cuts = !choices.text.empty() || !choices.rows.empty();
  if (!cuts) {
    note_unread(command, "with no --text or --rows", kWindowOptions, progress);
    refuse_unread(command, "with no --text or --rows", {"--drift"}, "name the text that it is measured on");
  }
  if (choices.options.reference.empty()) {
    refuse_unread(command, "without --reference", {"--drift"}, "name the float model, which drift is measured from");
  }
  if (!choices.drift) {
    refuse_unread(command, "without --drift", {"--drift-channels"}, "give it as well");
  } else if (choices.common.json.empty()) {
    note_unread(command, "without --json", {"--drift-channels"}, progress);
  }
  if (cuts && choices.drift && evaluate::find_protocol(choices.windows.protocol).documents) {
    fail_usage("--drift: is measured on windows of a text; use another --protocol than {}", choices.windows.protocol);
  }
  if (choices.lambada.empty() && choices.tasks.empty()) {
    note_unread(command, "with no --lambada or --task", {"--max-examples"}, progress);
  }
}

void run(const CLI::App& command, const Choices& choices) {
  auto options = choices.options;
  options.tasks = orders(choices);
  check_apart({{"--json", choices.common.json}}, inputs(choices, options.tasks));
  options.compute = start(choices.common, false);
  const auto progress = progress_for(choices.common);
  check_choices(command, choices, *progress);
  note_unread_general(command, {.no_chance = "with eval"}, options.compute, *progress);
  const auto result = evaluate_model(options, *progress);
  finish(report::evaluation_report(result), choices.common, options.compute, evaluation_summary(result));
}

std::string task_help() {
  std::string help = "A task of lm_eval and its examples, as JSON lines with these fields, NAME=FILE; repeatable";
  for (const auto& row : evaluate::example_tasks()) help += fmt::format("; {} ({})", row.name, row.fields);
  return help;
}

void add_tasks(CLI::App& command, Choices& choices) {
  auto* tasks = command.add_option_group("Task", "What to score the model on: a text, tasks or both");
  auto* text = tasks->add_option("--text", choices.text, "A text file, tokenized as it is");
  tasks->add_option("--rows", choices.rows, "A data set with one row per line (WikiText: wiki.test.raw)")
      ->excludes(text);
  tasks->add_option("--lambada", choices.lambada,
                    "JSON lines with a key \"text\": accuracy and perplexity of each text's last word; the same as "
                    "--task lambada_openai=FILE");
  tasks->add_option("--task", choices.tasks, task_help())->allow_extra_args(false);
  tasks->require_option(1, 0);
}

}  // namespace

Job add_eval(CLI::App& command) {
  auto choices = std::make_shared<Choices>();
  command.footer(
      "Figures of different protocols are not comparable. gptq and llama.cpp tokenize the text once and cut it into\n"
      "windows without overlap; llama.cpp's, those of its own tool, begin each window with BOS if the model has one\n"
      "and score only tokens that have half a window before them. lm-eval splits WikiText into its pages (another\n"
      "text is one document), undoes its tokens and reports perplexities per word and per byte. --task follows\n"
      "lm_eval's tasks of these names, without examples in the prompt. Figures that --json has under keys of their\n"
      "own: with --reference, lambada.float and lambada.quantized have accuracy, stderr, perplexity and examples "
      "each;\n"
      "all figures are in its list \"figures\". The compute dtype is f32 unless --dtype bf16 is given.");
  command.add_option("MODEL", choices->options.model, model_help("The model to score", true))->required();
  command.add_option("--reference", choices->options.reference,
                     "The model it was made from, of the same kinds: scored as well, and on a text adds KL divergence "
                     "and top-1 agreement");
  add_tasks(command, *choices);
  add_windows(command, choices->windows, "OPTIONS");
  command.add_flag("--drift", choices->drift,
                   "With --reference: how far the outputs of each block on the text have moved from the reference's: "
                   "means and variances of channels, and the squared error");
  command.add_flag("--drift-channels", choices->drift_channels,
                   "With --drift and --json: the report also has the shifts of every channel of each block");
  command.add_option("--max-examples", choices->max_examples, "At most this many examples of each task; 0: all")
      ->capture_default_str()
      ->check(within(kCount));
  command
      .add_option("--batch-rows", choices->options.batch_rows,
                  "Windows or texts per forward pass; 0: chosen for the device")
      ->capture_default_str()
      ->check(within(kCount));
  add_common(command, choices->common);
  return [choices, &command] { run(command, *choices); };
}

}  // namespace normtweak::cli
