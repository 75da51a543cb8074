// JSON for lookup only: a header or an index with one key per tensor.
//
// Not normtweak::Json, which keeps keys in an ordered list and searches it on each insertion; for the 50,000 tensors of
// a mixture-of-experts model that takes seconds.
#pragma once
#include <nlohmann/json.hpp>
#include <string_view>

namespace normtweak::formats {

using KeyedJson = nlohmann::json;

// An object. Throws Error naming `origin`, as parse_json() does.
KeyedJson parse_keyed_json(std::string_view text, std::string_view origin);

}  // namespace normtweak::formats
