#include <algorithm>
#include <limits>

#include "normtweak/base/error.h"
#include "normtweak/base/files/writable.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/cli/commands.h"
#include "normtweak/cli/general_options.h"
#include "normtweak/cli/model_help.h"
#include "normtweak/cli/named_files.h"
#include "normtweak/cli/text_options.h"
#include "normtweak/pipeline/write_text.h"

namespace normtweak::cli {
namespace {

struct Choices {
  std::string model, output;
  Common common;
  TextChoice text;
};

// The product of two counts within the options' bounds may give a number of bytes that overflows 64 bits.
std::int64_t file_bytes(std::int64_t tokens) {
  constexpr std::int64_t kId = 8;  // bytes
  return std::min(tokens, std::numeric_limits<std::int64_t>::max() / kId) * kId;
}

void run(const CLI::App& command, Choices& choices) {
  check_apart({{"-o", choices.output}, {"--json", choices.common.json}},
              {{"MODEL", choices.model}, {"--text", choices.text.source.real_text}});
  const auto compute = start(choices.common, true, true);
  const auto progress = progress_for(choices.common);
  const std::string why = choices.text.source.real_text.empty() ? "" : "with --text";
  note_unread_general(command, {.no_computing = why, .no_chance = why}, compute, *progress);
  check_file_target(choices.output);
  const auto checkpoint = model::open_checkpoint(choices.model);
  report_notes(checkpoint, *progress);
  const auto source = text_source(command, choices.text, choices.common, *progress);
  const auto text = pipeline::known_text(source, checkpoint);
  check_room(choices.output, file_bytes(text.size.tokens()));
  const auto [batch, seconds] = pipeline::write_text(text, source, checkpoint, compute, *progress);
  if (compute.processes.is_first()) calibrate::save_token_batch(choices.output, batch);
  Json figures;
  figures["model"] = choices.model;
  figures["samples"] = batch.samples();
  figures["tokens"] = batch.tokens();
  figures["provenance"] = batch.provenance;
  figures["tokens_per_second"] = static_cast<double>(batch.ids.numel()) / seconds;
  figures["seconds"] = {{"generate", seconds}};
  finish(figures, choices.common, compute,
         fmt::format("{}: {} of {}, {:.0f} tokens/s\n", choices.output, counted(batch.samples(), "row"),
                     counted(batch.tokens(), "token"), static_cast<double>(batch.ids.numel()) / seconds));
}

}  // namespace

Job add_generate(CLI::App& command) {
  auto choices = std::make_shared<Choices>();
  command.footer("The file holds `input_ids` [samples, tokens] and, in its metadata, how the text was made.");
  command.add_option("MODEL", choices->model, model_help("The model that writes the text", true))->required();
  command.add_option("-o,--output", choices->output, "Output file (.safetensors)")->required();
  add_text_writing(command, choices->text);
  add_common(command, choices->common);
  return [choices, &command] { run(command, *choices); };
}

}  // namespace normtweak::cli
