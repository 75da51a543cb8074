// NaN, Infinity and -Infinity in JSON. The standard has no such numbers and nlohmann-json neither reads nor writes
// them, but Python's json does both, and with it everything that reads and writes the files of models.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/base/json/json.h"

namespace normtweak {

// A text that stands in for one with such numbers: in each place is a zero of a spelling that nobody else uses, as long
// as what it replaces, so that places in error messages stay right.
struct StandIn {
  std::string text;           // empty where the original has no such number and can be read itself
  std::vector<float> values;  // what each zero of that spelling stands for, in the order of the text
};

// Python reads a decimal number beyond the largest double as an infinity, and so does this.
StandIn stand_in_for(std::string_view text);

// Whether a number is spelled as those that stand in for another.
bool is_stand_in(std::string_view number);

// As Json::dump(), but with these numbers as Python writes them, and not as null. Text need not be valid UTF-8.
std::string dump_json(const Json& value, int indent = -1);

}  // namespace normtweak
