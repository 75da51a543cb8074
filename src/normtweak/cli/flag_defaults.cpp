#include "normtweak/cli/flag_defaults.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "normtweak/base/error.h"

namespace normtweak::cli {
namespace {

bool is_switch(const CLI::Option& option) { return option.get_items_expected_max() == 0; }

bool is_overruled(const CLI::Option& option) {
  const auto excluding = option.get_excludes();
  return !option.empty() || std::ranges::any_of(excluding, [](const auto* other) { return !other->empty(); });
}

void set_default(CLI::Option& option, const FlagValues& flag) {
  if (is_switch(option)) {
    option.add_result(option.get_flag_value(flag.name.substr(2), flag.values.empty() ? "" : flag.values.front()));
  } else {
    option.add_result(flag.values);
  }
  option.run_callback();
  option.clear();
}

}  // namespace

std::vector<FlagValues> parse_flags(std::string_view line) {
  std::vector<FlagValues> flags;
  std::istringstream words{std::string(line)};
  for (std::string word; words >> word;) {
    if (word.starts_with("--")) {
      flags.push_back({.name = word, .values = {}});
    } else if (!flags.empty()) {
      flags.back().values.push_back(word);
    }
  }
  return flags;
}

std::string flags_text(const std::vector<FlagValues>& flags) {
  std::string text;
  for (const auto& flag : flags) {
    text += (text.empty() ? "" : " ") + flag.name;
    for (const auto& value : flag.values) text += " " + value;
  }
  return text;
}

FlagDefaults set_defaults(CLI::App& command, const std::vector<FlagValues>& flags, const std::string& source) {
  FlagDefaults defaults;
  for (const auto& flag : flags) {
    auto* option = command.get_option_no_throw(flag.name);
    if (option == nullptr) fail_usage("{}: {} is no option of {}", source, flag.name, command.get_name());
    if (is_overruled(*option)) {
      defaults.overruled.push_back(flag);
      continue;
    }
    try {
      set_default(*option, flag);
    } catch (const CLI::ParseError& error) {
      fail_usage("{}: {}", source, error.what());
    }
    defaults.set.push_back(flag);
  }
  return defaults;
}

}  // namespace normtweak::cli
