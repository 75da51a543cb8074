#include "normtweak/cli/grid_options.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "normtweak/base/error.h"
#include "normtweak/cli/choices.h"

namespace normtweak::cli {
namespace {

using pipeline::Grid;
using pipeline::GridKey;

constexpr const char* kTweak = "Tweak";  // the group of options in help

GridKey parse_key(const std::string& text, const std::vector<std::string>& known, const CLI::App& command) {
  const auto equals = text.find('=');
  GridKey key = {.name = text.substr(0, equals), .values = {}};
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
  key.of_tweak = command.get_option("--" + key.name)->get_group() == kTweak;
  return key;
}

}  // namespace

std::vector<std::string> grid_keys(const CLI::App& command) {
  std::vector<std::string> keys;
  for (const auto* group : {"Quantize", kTweak}) {
    for (const auto& option : options_of(command, group)) {
      if (option != "--rule") keys.push_back(option.substr(2));  // rules have commas of their own
    }
  }
  return keys;
}

Grid parse_grid(const std::vector<std::string>& texts, const std::vector<std::string>& known, const CLI::App& command) {
  Grid grid;
  for (const auto& text : texts) {
    const auto key = parse_key(text, known, command);
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

}  // namespace normtweak::cli
