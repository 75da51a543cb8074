// The subcommands. Each adds its options to `command` and returns the job to run if it was chosen.
#pragma once
#include <CLI/CLI.hpp>
#include <functional>

namespace normtweak::cli {

using Job = std::function<void()>;

Job add_apply(CLI::App& command);
Job add_convert(CLI::App& command);
Job add_eval(CLI::App& command);
Job add_generate(CLI::App& command);
Job add_inspect(CLI::App& command);
Job add_logits(CLI::App& command);
Job add_quantize(CLI::App& command);
Job add_sample(CLI::App& command);
Job add_search(CLI::App& command);
Job add_tweak_command(CLI::App& command);

}  // namespace normtweak::cli
