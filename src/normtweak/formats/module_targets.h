// How a config names the modules that a setting is for.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/base/json/json.h"
#include "normtweak/formats/linears/written_family.h"

namespace normtweak::formats {

// Targets that match these modules in the whole model and in the base model alone: regular expressions for those in
// blocks, one for each kind of linear,
//     re:(model[.])?layers[.](0|2|5)[.]mlp[.]up_proj$
// and names for the others, such as the head. If there are very many kinds, as experts are, names throughout.
Json module_targets(const std::vector<std::string>& modules, const WrittenFamily& family);

// Whether a module lies in a block, whose index its name has; the head does not.
bool lies_in_block(std::string_view module);

// A regular expression for all modules in a part beside the language model, whatever stands before its name.
std::string part_target(const std::string& part);

// A target as a regular expression for Python's re.match.
std::string python_pattern(const std::string& target);

}  // namespace normtweak::formats
