// What the keys of config.json do: each is read, known to be harmless, or refused if its value would change the passes.
#pragma once
#include "normtweak/model/config_values.h"

namespace normtweak::model {

// Applies the rules of all families and those of `family`. Throws Error naming a key whose value is not supported.
// Notes keys that no rule knows, which have no effect.
void check_keys(const ConfigValues& values, const Family& family, const ModelConfig& numbers);

// What a note says of keys that the program does not know, one at least.
std::string unknown_keys(const std::vector<std::string>& keys);

}  // namespace normtweak::model
