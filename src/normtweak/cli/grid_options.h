// --grid: the settings that a search tries, as options of its command.
#pragma once
#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "normtweak/pipeline/search_grid.h"

namespace normtweak::cli {

// Names of options that a grid may vary: of how the model is quantized and tweaked. The text is the same for all
// trials.
std::vector<std::string> grid_keys(const CLI::App& command);

// texts: "lr=0,1e-4", or "tune=norms;norms,scales" where values have commas; known: the keys that there are. Throws
// UsageError naming an empty grid, an unknown key or one given twice, a value that is given twice, values of which it
// is not clear where they end, and an option that the command line gives as well.
pipeline::Grid parse_grid(const std::vector<std::string>& texts, const std::vector<std::string>& known,
                          const CLI::App& command);

}  // namespace normtweak::cli
