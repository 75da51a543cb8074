// The settings that a search tries, and the order in which it does.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "normtweak/base/json/json.h"

namespace normtweak::pipeline {

struct GridKey {
  std::string name;                 // of an option, without dashes: "lr"
  std::vector<std::string> values;  // as typed after the option
  bool of_tweak = false;            // of how the model is tweaked, once it is quantized
};
using Grid = std::vector<GridKey>;

// The place of each key's value.
using Trial = std::vector<std::size_t>;

// All combinations; the last key varies first.
std::vector<Trial> all_trials(const Grid& grid);

// {"lr": "1e-4", "lr-scale": "5"}.
Json trial_flags(const Grid& grid, const Trial& trial);

// "lr 1e-4, lr-scale 5".
std::string trial_text(const Grid& grid, const Trial& trial);

// The next one of an adaptive search: the middle of the grid first, then a neighbour, one value of one key away, of the
// best trial that has one left. scores: of those done, the least is the best. nullopt: none is left.
std::optional<Trial> next_trial(const Grid& grid, const std::map<Trial, double>& scores);

}  // namespace normtweak::pipeline
