// A `pattern` of tokenizer.json: {"Regex": "..."} or {"String": "..."}.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/text/json_part.h"
#include "normtweak/text/regex.h"

namespace normtweak::text {

Regex read_pattern(const JsonPart& part);  // throws Error naming the part

// The text with `by` in place of each match.
std::string replaced(std::string_view text, const std::vector<Span>& matches, std::string_view by);

}  // namespace normtweak::text
