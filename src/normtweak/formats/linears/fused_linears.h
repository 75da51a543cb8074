// Linears that vLLM runs as one, and for which it wants one setting: q, k and v, and gate and up.
#pragma once
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace normtweak::formats {

// The first of them whose parts differ, "qkv_proj"; empty if there is none. linears: names of modules, each with a text
// that is equal for equal settings.
std::string divided_linear(std::span<const std::pair<std::string, std::string>> linears);

}  // namespace normtweak::formats
