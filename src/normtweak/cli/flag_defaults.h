// Flags that stand in a preset or a saved plan: what the command line leaves out gets their values.
#pragma once
#include <CLI/CLI.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace normtweak::cli {

struct FlagValues {
  std::string name;                 // as typed: "--lr", "--no-search-grid"
  std::vector<std::string> values;  // none: a switch
};

// "--method gptq --no-search-grid". Values have no spaces.
std::vector<FlagValues> parse_flags(std::string_view line);

// As typed.
std::string flags_text(const std::vector<FlagValues>& flags);

struct FlagDefaults {
  std::vector<FlagValues> set, overruled;  // overruled: the command line gives the option, or one that excludes it
};
// Sets the variables of options that the command line leaves out. The options still count as not given, so that nobody
// is told to leave out what the command line does not have. source: such as "--plan FILE". Throws UsageError naming it,
// and a flag that there is not or a value that is not accepted.
FlagDefaults set_defaults(CLI::App& command, const std::vector<FlagValues>& flags, const std::string& source);

}  // namespace normtweak::cli
