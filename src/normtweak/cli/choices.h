// Options whose values come from elsewhere: the names in a table, or whatever a parser accepts.
#pragma once
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "normtweak/base/progress.h"

namespace normtweak::cli {

// For Option::check: turns an Error thrown by `parse` into a usage error.
CLI::Validator accepted_by(std::function<void(const std::string&)> parse);

// Throws UsageError if one of `options` was given, since it has no effect and another result would be expected. why:
// such as "with --method kmeans". advice: what to do about it.
void refuse_unread(const CLI::App& command, const std::string& why, const std::vector<std::string>& options,
                   const std::string& advice = "leave it out");

// Adds a note for each of `options` that was given: it has no effect, but is harmless.
void note_unread(const CLI::App& command, const std::string& why, const std::vector<std::string>& options,
                 ProgressSink& progress);

// Names of the options of a group, such as "Tweak".
std::vector<std::string> options_of(const CLI::App& command, const std::string& group);

// An option whose values are the names in a table; its help lists them with their descriptions. find: looks a name up
// and throws Error if that says more than the list of names.
template <class Rows>
CLI::Option* add_choice(CLI::App& command, const std::string& flag, std::string& value, std::string help,
                        const Rows& rows, std::function<void(const std::string&)> find = {}) {
  std::vector<std::string> names;
  for (const auto& row : rows) {
    help += fmt::format("{} {} ({})", names.empty() ? ":" : ";", row.name, row.description);
    names.emplace_back(row.name);
  }
  return command.add_option(flag, value, help)
      ->capture_default_str()
      ->check(find ? accepted_by(std::move(find)) : CLI::IsMember(names));
}

}  // namespace normtweak::cli
