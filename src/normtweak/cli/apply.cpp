#include "normtweak/cli/commands.h"
#include "normtweak/cli/general_options.h"
#include "normtweak/cli/named_files.h"
#include "normtweak/pipeline/patched_file.h"
#include "normtweak/pipeline/preflight.h"

namespace normtweak::cli {
namespace {

struct Choices {
  std::string base, patch, output;
  Common common;
};

}  // namespace

Job add_apply(CLI::App& command) {
  auto choices = std::make_shared<Choices>();
  command.footer("The result is, byte for byte, what `normtweak tweak -o` would have written.");
  command.add_option("BASE", choices->base, "The model that was tweaked: a file or a folder")->required();
  command.add_option("PATCH", choices->patch, "What `normtweak tweak --patch` wrote")->required();
  command.add_option("-o,--output", choices->output, "The tweaked model: what BASE is")->required();
  add_common(command, choices->common);
  return [choices, &command] {
    check_apart({{"-o", choices->output}, {"--json", choices->common.json}},
                {{"BASE", choices->base}, {"PATCH", choices->patch}});
    const auto compute = start(choices->common, false);
    const auto progress = progress_for(choices->common);
    note_unread_general(command, {.no_computing = "with apply", .no_chance = "with apply"}, compute, *progress);
    const bool is_folder = std::filesystem::is_directory(choices->base);
    pipeline::check_output(choices->output, is_folder ? pipeline::OutputKind::folder : pipeline::OutputKind::file,
                           {choices->base, choices->patch}, 0);
    const auto changed = pipeline::apply_patch(choices->base, choices->patch, choices->output);
    finish({{"output", choices->output}, {"patched_bytes", changed}}, choices->common, compute,
           fmt::format("{}: {} bytes of {} written anew\n", choices->output, changed, choices->base));
  };
}

}  // namespace normtweak::cli
