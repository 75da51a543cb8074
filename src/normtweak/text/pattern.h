// A `pattern` of tokenizer.json: {"Regex": "..."} or {"String": "..."}.
#pragma once
#include "normtweak/text/json_part.h"
#include "normtweak/text/regex.h"

namespace normtweak::text {

Regex read_pattern(const JsonPart& part);  // throws Error naming the part

}  // namespace normtweak::text
