// The rotary keys of config.json, in either spelling, merged as in transformers (modeling_rope_utils.py).
#pragma once
#include "normtweak/model/config_values.h"

namespace normtweak::model {

// Sets the rotary base and scaling. `config` must have its context. Throws Error naming the key.
void read_rotary(const ConfigValues& values, const Family& family, ModelConfig& config);

}  // namespace normtweak::model
