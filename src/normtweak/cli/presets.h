// Settings that have a name: --preset.
#pragma once
#include <CLI/CLI.hpp>
#include <span>
#include <string>
#include <string_view>

#include "normtweak/base/json/json.h"
#include "normtweak/base/progress.h"

namespace normtweak::cli {

struct Preset {
  std::string_view name, description;
  std::string_view flags;  // of `quantize`, as typed
};
std::span<const Preset> presets();

// The row of this name; the options of `command` check that there is one.
const Preset& find_preset(std::string_view name);

// Sets what the command line leaves out as the preset says, and adds a note on it. Returns what reports say of it:
// {name, flags, overruled}, the latter those that the command line gives instead.
Json set_preset(CLI::App& command, std::string_view name, ProgressSink& progress);

}  // namespace normtweak::cli
