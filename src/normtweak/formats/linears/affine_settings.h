// Which linears of a folder are quantized, and with which bits and groups: one setting for all, and others for modules
// that a list of patterns names.
#pragma once
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "normtweak/formats/linears/settings.h"
#include "normtweak/formats/module_pattern.h"
#include "normtweak/formats/module_spellings.h"

namespace normtweak::formats {

struct AffineSettings {
  int bits = 4;
  int group_size = 128;  // input columns that share a scale; 0: the whole row
  bool symmetric = true;

  bool operator==(const AffineSettings&) const = default;
};

// bits, group_size and symmetric of a config, or of an entry that overrides `standard`.
AffineSettings read_affine_settings(const Settings& config, const AffineSettings& standard, bool needs_bits);

class ModuleSettings {
 public:
  ModuleSettings(const AffineSettings& standard, ModuleSpellings spellings)
      : standard_(standard), spellings_(spellings) {}

  // A name, or "re:" and a regular expression that must match at the beginning of a name; nullopt: stays float. Names
  // count before expressions, and of these the first that matches. Throws Error naming `where` if an expression is
  // invalid.
  void add(const std::string& target, const std::optional<AffineSettings>& settings, const std::string& where);

  // nullopt: the module is not quantized.
  std::optional<AffineSettings> of(const std::string& module) const;

 private:
  struct Pattern {
    ModulePattern pattern;
    std::optional<AffineSettings> settings;
  };
  AffineSettings standard_;
  ModuleSpellings spellings_;
  std::unordered_map<std::string, std::optional<AffineSettings>> named_;  // a list may name every module
  std::vector<Pattern> patterns_;
};

}  // namespace normtweak::formats
