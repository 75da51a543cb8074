#include "normtweak/cli/search_grid.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "normtweak/base/error.h"
#include "normtweak/cli/choices.h"

namespace normtweak::cli {
namespace {

GridKey parse_key(const std::string& text, const CLI::App& command) {
  const auto equals = text.find('=');
  GridKey key = {.name = text.substr(0, equals), .values = {}};
  const auto known = grid_keys(command);
  if (std::ranges::find(known, key.name) == known.end()) {
    fail_usage("--grid {}: {} is no setting that a grid varies; there are {}", text, key.name, fmt::join(known, ", "));
  }
  if (equals == std::string::npos || equals + 1 == text.size()) {
    fail_usage("--grid {}: the grid is empty; give values, as in {}=1,2", text, key.name);
  }
  for (const auto& value : CLI::detail::split(text.substr(equals + 1), ',')) {
    if (value.empty()) fail_usage("--grid {}: a value is empty", text);
    if (std::ranges::find(key.values, value) != key.values.end())
      fail_usage("--grid {}: {} is there twice", text, value);
    key.values.push_back(value);
  }
  return key;
}

// One value of one key away.
std::vector<Trial> neighbours(const Grid& grid, const Trial& trial) {
  std::vector<Trial> all;
  for (std::size_t key = 0; key < grid.size(); ++key) {
    for (const int step : {-1, 1}) {
      auto moved = trial;
      moved[key] += static_cast<std::size_t>(step);  // below 0 it wraps, and is beyond the last value
      if (moved[key] < grid[key].values.size()) all.push_back(moved);
    }
  }
  return all;
}

}  // namespace

std::vector<std::string> grid_keys(const CLI::App& command) {
  std::vector<std::string> keys;
  for (const auto* group : {"Quantize", "Tweak"}) {
    for (const auto& option : options_of(command, group)) {
      if (option != "--rule") keys.push_back(option.substr(2));  // rules have commas of their own
    }
  }
  return keys;
}

Grid parse_grid(const std::vector<std::string>& texts, const CLI::App& command) {
  Grid grid;
  for (const auto& text : texts) {
    const auto key = parse_key(text, command);
    if (std::ranges::any_of(grid, [&](const auto& other) { return other.name == key.name; })) {
      fail_usage("--grid {}: {} has a grid already", text, key.name);
    }
    if (!command.get_option("--" + key.name)->empty()) {
      fail_usage("--grid {}: --{} is given as well; leave it out", text, key.name);
    }
    grid.push_back(key);
  }
  return grid;
}

std::vector<Trial> all_trials(const Grid& grid) {
  std::vector<Trial> all = {{}};
  for (const auto& key : grid) {
    std::vector<Trial> longer;
    for (const auto& trial : all) {
      for (std::size_t value = 0; value < key.values.size(); ++value) {
        longer.push_back(trial);
        longer.back().push_back(value);
      }
    }
    all = std::move(longer);
  }
  return all;
}

std::string trial_text(const Grid& grid, const Trial& trial) {
  std::vector<std::string> parts;
  for (std::size_t key = 0; key < grid.size(); ++key) {
    parts.push_back(fmt::format("{} {}", grid[key].name, grid[key].values[trial[key]]));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::optional<Trial> next_trial(const Grid& grid, const std::map<Trial, double>& scores) {
  Trial middle;
  for (const auto& key : grid) middle.push_back((key.values.size() - 1) / 2);
  if (!scores.contains(middle)) return middle;
  std::vector<std::pair<double, Trial>> best;
  for (const auto& [trial, score] : scores) best.emplace_back(score, trial);
  std::ranges::sort(best);
  for (const auto& [score, trial] : best) {
    for (const auto& neighbour : neighbours(grid, trial)) {
      if (!scores.contains(neighbour)) return neighbour;
    }
  }
  return std::nullopt;
}

}  // namespace normtweak::cli
