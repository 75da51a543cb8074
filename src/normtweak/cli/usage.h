// Messages for command-line errors.
#pragma once
#include <CLI/CLI.hpp>
#include <string>

namespace normtweak::cli {

// One line that explains `error`, or names an unknown option or subcommand and the closest match.
std::string complaint(const CLI::App& app, const CLI::ParseError& error);

// What the chosen subcommand works on, as typed: MODEL, QUANTIZED or PATH.
std::string subject(const CLI::App& app);

// "see `normtweak eval --help`", for the chosen subcommand.
std::string where_to_look(const CLI::App& app);

}  // namespace normtweak::cli
