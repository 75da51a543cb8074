#include "normtweak/pipeline/search_grid.h"

#include <fmt/ranges.h>

#include <algorithm>

namespace normtweak::pipeline {
namespace {

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

Json trial_flags(const Grid& grid, const Trial& trial) {
  auto flags = Json::object();
  for (std::size_t key = 0; key < grid.size(); ++key) flags[grid[key].name] = grid[key].values[trial[key]];
  return flags;
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

}  // namespace normtweak::pipeline
