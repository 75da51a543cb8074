#include "normtweak/cli/report_options.h"

#include "normtweak/cli/choices.h"
#include "normtweak/cli/number_checks.h"
#include "normtweak/evaluate/protocols.h"

namespace normtweak::cli {

void add_windows(CLI::App& command, WindowChoice& choice, const std::string& group) {
  add_choice(command, "--protocol", choice.protocol, "How a text is cut into windows", evaluate::protocols())
      ->group(group);
  command
      .add_option("--context", choice.context,
                  "Tokens per window (default: the protocol's, or the model's context if that is shorter)")
      ->check(within(kWindow))
      ->group(group);
  command.add_option("--max-tokens", choice.max_tokens, "At most this many tokens of each text; 0: all")
      ->capture_default_str()
      ->check(within(kCount))
      ->group(group);
}

void add_external(CLI::App& command, ExternalChoice& choice) {
  command.add_option("--eval-text", choice.texts, "Also report perplexity on this text file")
      ->allow_extra_args(false)
      ->group("Report");
  command.add_option("--eval-rows,--rows", choice.rows, "The same for a data set with one row per line")
      ->allow_extra_args(false)
      ->group("Report");
  command
      .add_option("--eval-lambada", choice.lambada,
                  "Also report LAMBADA: a file of JSON lines with a key \"text\" (see eval --help)")
      ->group("Report");
  add_windows(command, choice.windows, "Report");
  command.add_option("--max-examples", choice.max_examples, "At most this many LAMBADA examples; 0: all")
      ->capture_default_str()
      ->check(within(kCount))
      ->group("Report");
}

pipeline::External external(const CLI::App& command, const ExternalChoice& choice, ProgressSink& progress) {
  if (choice.rows.empty() && choice.texts.empty()) {
    note_unread(command, "with no --eval-text or --eval-rows", kWindowOptions, progress);
  }
  if (choice.lambada.empty()) note_unread(command, "with no --eval-lambada", {"--max-examples"}, progress);
  pipeline::External all;
  const auto& windows = choice.windows;
  const auto add = [&](const std::vector<std::string>& paths, bool rows) {
    for (const auto& path : paths)
      all.texts.push_back({path, rows, windows.protocol, windows.context, windows.max_tokens});
  };
  add(choice.rows, true);
  add(choice.texts, false);
  if (!choice.lambada.empty()) all.lambada = {.path = choice.lambada, .max_examples = choice.max_examples};
  return all;
}

void check_report_apart(const Common& common, const std::filesystem::path& output, std::vector<NamedFile> inputs,
                        const pipeline::TextSource& text, const pipeline::External& external) {
  inputs.push_back({"--calibration", text.ids});
  inputs.push_back({"--text", text.real_text});
  for (const auto& reported : external.texts) {
    inputs.push_back({reported.rows ? "--eval-rows" : "--eval-text", reported.path});
  }
  if (external.lambada) inputs.push_back({"--eval-lambada", external.lambada->path});
  const NamedFile report = {"--json", common.json};
  check_apart({report}, inputs);
  check_apart({{"-o", output}, report}, {});
}

}  // namespace normtweak::cli
