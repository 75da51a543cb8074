// What makes two models compute the same: every hyperparameter that a pass depends on, with a name for messages.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/model/family.h"

namespace normtweak::pipeline {

struct ModelFact {
  std::string_view name;
  std::string value;
  double rounded = 0;  // of numbers that some formats store in F32, compared with a tolerance
};

// Most general facts first. Where kinds of models or of scaling differ, the lists have different lengths, but that
// difference comes first. The context counts only where positions are learned: with others it may be extended.
std::vector<ModelFact> model_facts(const model::Family& family, const model::ModelConfig& config);

// The first fact that differs: "NAME: VALUE here, VALUE there".
std::optional<std::string> first_difference(const std::vector<ModelFact>& here, const std::vector<ModelFact>& there);

}  // namespace normtweak::pipeline
