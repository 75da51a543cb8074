#include <ATen/core/grad_mode.h>

#include "normtweak/base/device/finite.h"
#include "normtweak/base/error.h"
#include "normtweak/base/files/writable.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/calibrate/token_batch.h"
#include "normtweak/cli/commands.h"
#include "normtweak/cli/general_options.h"
#include "normtweak/cli/model_help.h"
#include "normtweak/cli/named_files.h"
#include "normtweak/formats/safetensors.h"
#include "normtweak/model/decoder.h"
#include "normtweak/model/finite_outputs.h"
#include "normtweak/model/forward_pass.h"
#include "normtweak/model/head.h"
#include "normtweak/pipeline/memory_plan.h"

namespace normtweak::cli {
namespace {

struct Choices {
  std::string model, tokens, output;
  Common common;
};

void run(const CLI::App& command, const Choices& choices) {
  const c10::NoGradGuard no_gradients;
  check_apart({{"-o", choices.output}, {"--json", choices.common.json}},
              {{"MODEL", choices.model}, {"--tokens", choices.tokens}});
  const auto compute = start(choices.common, false);
  const auto progress = progress_for(choices.common);
  note_unread_general(command, {.no_chance = "with logits"}, compute, *progress);
  check_file_target(choices.output);
  const auto checkpoint = model::open_checkpoint(choices.model);
  report_notes(checkpoint, *progress);
  const auto batch = calibrate::load_token_batch(choices.tokens, checkpoint.numbers.vocabulary);
  if (batch.tokens() > checkpoint.numbers.context) {
    fail("{}: rows of {}, and the model's context holds {}", choices.tokens, counted(batch.tokens(), "token"),
         checkpoint.numbers.context);
  }
  check_room(choices.output, batch.ids.numel() * checkpoint.numbers.vocabulary * 4);
  const auto load = pipeline::plan_models({&checkpoint}, compute, pipeline::available_memory(compute));
  if (const auto note = pipeline::describe(load); !note.empty()) progress->note(note);
  const auto decoder = load_decoder(checkpoint, load);
  const Stopwatch watch;
  const std::vector<std::int64_t> shape = {batch.samples(), batch.tokens(), checkpoint.numbers.vocabulary};
  {
    Stage stage(*progress, "logits", batch.samples(), "rows");
    // Written row by row: all of them may take more memory than the model.
    const auto row_of_logits = [&](std::int64_t row) {
      const auto ids = batch.ids.narrow(0, row, 1).to(compute.device);
      const auto found = model::logits(decoder, last_hidden_state(decoder, ids)).squeeze(0);
      if (!all_finite(found)) fail_where_not_finite(decoder, ids);
      stage.advance(1);
      return found;
    };
    formats::write_safetensors(choices.output,
                               {{.name = "logits", .shape = shape, .load = {}, .load_row = row_of_logits}});
  }
  const double seconds = watch.seconds();
  finish({{"seconds", {{"evaluate", seconds}}}, {"tokens_scored", batch.ids.numel()}}, choices.common, compute,
         fmt::format("{}: logits {}\n", choices.output, c10::str(at::IntArrayRef(shape))));
}

}  // namespace

Job add_logits(CLI::App& command) {
  auto choices = std::make_shared<Choices>();
  command.footer("The file holds `logits`, f32 [samples, tokens, vocabulary]. Needs no tokenizer.");
  command.add_option("MODEL", choices->model, model_help("The model", true))->required();
  command.add_option("--tokens", choices->tokens, "Token ids: a safetensors file with `input_ids` [samples, tokens]")
      ->required();
  command.add_option("-o,--output", choices->output, "Output file (.safetensors)")->required();
  add_common(command, choices->common);
  return [choices, &command] { run(command, *choices); };
}

}  // namespace normtweak::cli
