#include "normtweak/pipeline/model_fingerprint.h"

#include <fmt/format.h>

#include "normtweak/model/decoder.h"

namespace normtweak::pipeline {

Json model_fingerprint(const model::Checkpoint& checkpoint) {
  const auto& numbers = checkpoint.numbers;
  Json json = {{"family", checkpoint.family->name}, {"layers", numbers.layers},   {"hidden", numbers.hidden},
               {"vocabulary", numbers.vocabulary},  {"context", numbers.context}, {"linears", Json::object()}};
  for (const auto& linear : linear_shapes(checkpoint, 0)) json["linears"][linear.name] = {linear.out, linear.in};
  return json;
}

std::string fingerprint_difference(const Json& earlier, const Json& now) {
  for (const auto& [key, value] : now.items()) {
    const auto found = earlier.find(key);
    if (found == earlier.end()) return fmt::format("one without {}, and this one has {}", key, show(value));
    if (*found == value) continue;
    if (value.is_object() && found->is_object()) return fingerprint_difference(*found, value);
    return fmt::format("{} {}, and this one has {}", key, show(*found), show(value));
  }
  return earlier.size() > now.size() ? "one with more linears" : "";
}

}  // namespace normtweak::pipeline
