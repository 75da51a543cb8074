#include <array>

#include "normtweak/base/error.h"
#include "normtweak/cli/choices.h"
#include "normtweak/cli/commands.h"
#include "normtweak/cli/named_files.h"
#include "normtweak/cli/run_summary.h"
#include "normtweak/cli/tweak_run_options.h"
#include "normtweak/pipeline/run.h"
#include "normtweak/report/run_report.h"

namespace normtweak::cli {
namespace {

constexpr const char* kMethod = "--method";

struct NormType {
  const char *name, *description;
};
constexpr NormType kKeep = {"keep", "as QUANTIZED stores them"};
constexpr NormType kF32 = {"f32", "in F32 instead of 16 bits, and tuned and judged so"};
constexpr std::array kNormTypes = {kKeep, kF32};

struct Choices {
  TweakRunChoice run;
  std::string patch, norms = kKeep.name;
};

void check_norms(const Choices& choices) {
  if (choices.norms == kKeep.name) return;
  const auto with = fmt::format("--norms {}", choices.norms);
  if (!choices.patch.empty()) {
    fail_usage("{}: not together with --patch, which replaces bytes in place; wider norms move all that follows them",
               with);
  }
  const auto& tune = choices.run.tweak.tune;
  if (tune.empty()) return;
  using tweak::TunableGroup;
  const auto groups = tweak::parse_groups(tune);
  if (groups.contains(TunableGroup::norms) || groups.contains(TunableGroup::router_norms)) return;
  fail_usage("{}: has no use with --tune {}, which tunes no norm; leave it out", with, tune);
}

void check_files(const Choices& choices, const pipeline::TweakRunOptions& options) {
  const auto& common = choices.run.common;
  const std::vector<NamedFile> models = {{"QUANTIZED", options.quantized}, {"--reference", options.reference}};
  check_report_apart(common, options.output, models, options.text, options.external);
  check_apart({{"--patch", options.patch}}, models);
  check_apart({{"-o", options.output}, {"--patch", options.patch}, {"--json", common.json}}, {});
  if (options.output.empty() && options.patch.empty()) {
    fail_usage("-o is missing: where to save the result; --patch may save what changed alone");
  }
}

}  // namespace

Job add_tweak_command(CLI::App& command) {
  auto choices = std::make_shared<Choices>();
  command.footer(
      "The result is a copy of QUANTIZED, a folder or a GGUF file, of the same size: only norms, biases and the "
      "scales\n"
      "beside the codes differ, all else is byte-identical; --norms f32 makes norms of 16 bits, and with them the\n"
      "files, larger. Of an export without codes (--format hf) only the norms and biases can be tuned. --patch writes "
      "just what changed: `normtweak apply` puts it into a copy of QUANTIZED.\n"
      "--reference may be the same model in another format.");
  add_tweak_run_options(command, choices->run, kMethod);
  add_choice(command, "--norms", choices->norms, "How norms are written", kNormTypes)->group(kTweakGroup);
  command.add_option("--patch", choices->patch, "Write what changed to this file, with or without -o");
  return [choices, &command] {
    const auto& common = choices->run.common;
    check_norms(*choices);
    const auto progress = progress_for(common);
    auto options = tweak_run_options(command, choices->run, kMethod, *progress);
    options.patch = choices->patch;
    options.wide_norms = choices->norms == kF32.name;
    check_files(*choices, options);
    options.compute = start(common, true, true);
    note_unread_general(command, {}, options.compute, *progress);
    const auto result = pipeline::tweak_model(options, *progress);
    finish(report::run_report(result), common, options.compute, run_summary(result, result.output.string()));
  };
}

}  // namespace normtweak::cli
