// What is wrong with a command line.
#pragma once
#include <CLI/CLI.hpp>
#include <string>

namespace normtweak::cli {

// One line: what `error` is about, or an option or subcommand that is not known, and the one that may be meant.
std::string complaint(const CLI::App& app, const CLI::ParseError& error);

// "see `normtweak eval --help`", of the subcommand that was chosen.
std::string where_to_look(const CLI::App& app);

}  // namespace normtweak::cli
