#include <fmt/format.h>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file_kind.h"
#include "normtweak/cli/choices.h"
#include "normtweak/cli/commands.h"
#include "normtweak/cli/general_options.h"
#include "normtweak/cli/model_help.h"
#include "normtweak/cli/named_files.h"
#include "normtweak/pipeline/convert_model.h"
#include "normtweak/pipeline/save_formats.h"

namespace normtweak::cli {
namespace {

struct Choices {
  pipeline::ConvertOptions options;
  Common common;
};

std::string summary(const pipeline::ConvertResult& result, const std::string& output) {
  return fmt::format("{}: {} linears, {} as {}\n  {}\n", output, result.linears, result.from, result.to,
                     formats::readers_line(result.readers));
}

// Only one format is known by an ending.
std::string format_of(const std::filesystem::path& output) {
  if (has_ending(output, ".gguf")) return "gguf";
  fail_usage("--format: needed, unless the output ends with .gguf");
}

}  // namespace

Job add_convert(CLI::App& command) {
  auto choices = std::make_shared<Choices>();
  command.footer(
      "Codes, scales and zero-points stay the same; a model that the format cannot hold as it is, is refused with the\n"
      "reason. All other tensors keep their values, those that a GGUF file has in blocks as f32. In a new GGUF file\n"
      "each linear has the smallest type of llama.cpp's that holds its values.");
  command.add_option("MODEL", choices->options.model, model_help("The quantized model", true))->required();
  command
      .add_option("-o,--output", choices->options.output,
                  "Output folder, or .gguf file; an earlier result there is replaced")
      ->required();
  add_choice(command, "--format", choices->options.format,
             "Output format (default for an OUT that ends with .gguf: gguf)", pipeline::save_formats(),
             [](const std::string& name) { pipeline::find_save_format(name); });
  add_common(command, choices->common);
  return [choices, &command] {
    auto& options = choices->options;
    if (options.format.empty()) options.format = format_of(options.output);
    pipeline::check_ending(pipeline::find_save_format(options.format), options.output);
    check_apart({{"-o", options.output}, {"--json", choices->common.json}}, {{"MODEL", options.model}});
    const auto compute = start(choices->common, false);
    const auto progress = progress_for(choices->common);
    note_unread_general(command, {.no_computing = "with convert", .no_chance = "with convert"}, compute, *progress);
    const auto result = pipeline::convert_model(options, *progress);
    finish({{"output", options.output.string()},
            {"from", result.from},
            {"format", result.to},
            {"linears", result.linears},
            {"output_bytes", result.bytes},
            {"readers", formats::readers_json(result.readers)}},
           choices->common, compute, summary(result, options.output.string()));
  };
}

}  // namespace normtweak::cli
