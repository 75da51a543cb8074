// Sizes that a family's `gguf.complete` derives from others, before anything has checked the numbers of the file.
#pragma once
#include <algorithm>
#include <cstdint>

#include "normtweak/base/json/json.h"
#include "normtweak/model/config_values.h"

namespace normtweak::model {

// The hidden size divided among the heads, as llama.cpp does. Of values that read_config() will refuse: some number.
inline std::int64_t hidden_per_head(const Json& config) {
  const auto size = [&config](const char* key) { return whole_number(config.value(key, Json())).value_or(1); };
  return size("hidden_size") / std::max<std::int64_t>(size("num_attention_heads"), 1);
}

}  // namespace normtweak::model
