// The settings that a search tries, and the order in which it does.
#pragma once
#include <CLI/CLI.hpp>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace normtweak::cli {

struct GridKey {
  std::string name;                 // of an option, without dashes: "lr"
  std::vector<std::string> values;  // as typed after the option
};
using Grid = std::vector<GridKey>;

// The place of each key's value.
using Trial = std::vector<std::size_t>;

// Names of options that a grid may vary: of how the model is quantized and tweaked. The text is the same for all
// trials.
std::vector<std::string> grid_keys(const CLI::App& command);

// texts: "lr=0,1e-4". Throws UsageError naming an empty grid, a key that `command` does not have or that is given
// twice, a value that is given twice, and an option that the command line gives as well.
Grid parse_grid(const std::vector<std::string>& texts, const CLI::App& command);

// All combinations; the last key varies first.
std::vector<Trial> all_trials(const Grid& grid);

// "lr 1e-4, lr-scale 5".
std::string trial_text(const Grid& grid, const Trial& trial);

// The next one of an adaptive search: the middle of the grid first, then a neighbour, one value of one key away, of the
// best trial that has one left. scores: of those done, the least is the best. nullopt: none is left.
std::optional<Trial> next_trial(const Grid& grid, const std::map<Trial, double>& scores);

}  // namespace normtweak::cli
