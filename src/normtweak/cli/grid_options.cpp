#include "normtweak/cli/grid_options.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "normtweak/base/error.h"
#include "normtweak/cli/choices.h"

namespace normtweak::cli {
namespace {

using pipeline::Grid;
using pipeline::GridKey;

constexpr const char* kTweak = "Tweak";  // the group of options in help

// Options whose values may have commas of their own: lists, and patterns of names.
const std::set<std::string> kWithCommas = {"--rule", "--tune", "--codes-of"};

// Of "lr=1e-3,1e-2", or of "tune=norms;norms,scales": where a text has a semicolon, commas belong to the values.
std::vector<std::string> values_of(const std::string& text, const std::string& key, const std::string& values) {
  const bool semicolons = values.find(';') != std::string::npos;
  if (!semicolons && values.find(',') != std::string::npos && kWithCommas.contains("--" + key)) {
    fail_usage(
        "--grid {0}: a value of --{1} may have commas itself, so it is not clear where one ends; put semicolons "
        "between values, in quotes for the shell (--grid '{1}={2}'), or give a single one as --{1} '{3}'",
        text, key, fmt::join(CLI::detail::split(values, ','), ";"), values);
  }
  const char separator = semicolons ? ';' : ',';
  return CLI::detail::split(values + separator, separator);  // an empty last value counts
}

GridKey parse_key(const std::string& text, const std::vector<std::string>& known, const CLI::App& command) {
  const auto equals = text.find('=');
  GridKey key = {.name = text.substr(0, equals), .values = {}};
  if (std::ranges::find(known, key.name) == known.end()) {
    fail_usage("--grid {}: {} is no setting that a grid varies; there are {}", text, key.name, fmt::join(known, ", "));
  }
  if (equals == std::string::npos || equals + 1 == text.size()) {
    fail_usage("--grid {}: the grid is empty; give values, as in {}=1,2", text, key.name);
  }
  for (const auto& value : values_of(text, key.name, text.substr(equals + 1))) {
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
    for (const auto& option : options_of(command, group)) keys.push_back(option.substr(2));
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
