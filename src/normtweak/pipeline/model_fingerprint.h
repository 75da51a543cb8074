// What tells one model from another as far as a plan is concerned: its family, its shapes and its vocabulary.
#pragma once
#include <string>

#include "normtweak/base/json/json.h"
#include "normtweak/model/checkpoint.h"

namespace normtweak::pipeline {

// {family, layers, hidden, vocabulary, context, linears: {module of the first block: [out, in]}}. Reads only the
// config.
Json model_fingerprint(const model::Checkpoint& checkpoint);

// "layers 2, and this one has 3": where the fingerprint of this model differs first from an earlier one; empty if
// nowhere.
std::string fingerprint_difference(const Json& earlier, const Json& now);

}  // namespace normtweak::pipeline
