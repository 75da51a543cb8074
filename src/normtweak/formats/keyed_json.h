// JSON whose keys are looked up, not copied back: a header or an index with a key for each tensor.
//
// Not normtweak::Json: that keeps the order of keys in a list and searches it at each insertion, which for the 50,000
// tensors of a mixture of experts takes seconds.
#pragma once
#include <nlohmann/json.hpp>
#include <string_view>

namespace normtweak::formats {

using KeyedJson = nlohmann::json;

// An object. Throws Error naming `origin`, as parse_json() does.
KeyedJson parse_keyed_json(std::string_view text, std::string_view origin);

}  // namespace normtweak::formats
