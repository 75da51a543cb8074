#include "normtweak/cli/usage.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <numeric>
#include <utility>
#include <vector>

namespace normtweak::cli {
namespace {

const CLI::App& chosen_command(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? app : *chosen.front();
}

// Levenshtein distance: insertions, deletions, substitutions.
std::size_t distance(const std::string& one, const std::string& other) {
  std::vector<std::size_t> row(other.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < one.size(); ++i) {
    auto diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < other.size(); ++j) {
      const auto changed = diagonal + (one[i] == other[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

// "; did you mean X?", or "" if no name is close.
std::string suggestion(const std::string& typed, const std::vector<std::string>& names) {
  const auto far = [&](const std::string& name) {
    return name.starts_with(typed) && typed.size() > 3 ? 0 : distance(typed, name);
  };
  const auto nearest = std::ranges::min_element(names, {}, far);
  const auto most = std::max<std::size_t>(1, typed.size() / 4);
  return nearest == names.end() || far(*nearest) > most ? "" : fmt::format("; did you mean {}?", *nearest);
}

std::vector<std::string> option_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const auto* option : command.get_options()) {
    for (const auto& name : option->get_lnames()) names.push_back("--" + name);
  }
  for (const auto* group : command.get_subcommands([](const CLI::App* part) { return part->get_name().empty(); })) {
    std::ranges::copy(option_names(*group), std::back_inserter(names));
  }
  return names;
}

std::vector<std::string> subcommand_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const auto* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  return names;
}

std::string about_unknown(const CLI::App& app, const std::vector<std::string>& unknown) {
  const auto& command = chosen_command(app);
  const auto option = std::ranges::find_if(unknown, [](const auto& word) { return word.starts_with('-'); });
  if (option != unknown.end() && (&command != &app || option == unknown.begin())) {
    const auto name = option->substr(0, option->find('='));
    return fmt::format("{}: no such option{}", name, suggestion(name, option_names(command)));
  }
  const auto& word = unknown.front();
  if (&command != &app) return fmt::format("{}: one argument too many", word);
  const auto names = subcommand_names(app);
  return fmt::format("{}: no such subcommand{}; there are {}", word, suggestion(word, names), fmt::join(names, ", "));
}

}  // namespace

std::string complaint(const CLI::App& app, const CLI::ParseError& error) {
  const auto unknown = app.remaining(/*recurse=*/true);
  if (!unknown.empty()) return about_unknown(app, unknown);
  if (&chosen_command(app) == &app) {
    return fmt::format("a subcommand is needed: {}", fmt::join(subcommand_names(app), ", "));
  }
  const std::string what = error.what();
  return what.substr(0, what.find('\n'));
}

std::string subject(const CLI::App& app) {
  const auto& command = chosen_command(app);
  for (const auto* option : command.get_options()) {
    if (option->get_positional() && !option->results().empty()) return option->results().front();
  }
  return command.get_name();
}

std::string where_to_look(const CLI::App& app) {
  const auto& command = chosen_command(app);
  return fmt::format("see `normtweak {}--help`", &command == &app ? "" : command.get_name() + " ");
}

}  // namespace normtweak::cli
