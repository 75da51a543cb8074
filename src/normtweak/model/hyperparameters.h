// The numbers of a config, one row each: see Hyperparameter in model/family.h.
#pragma once
#include <vector>

#include "normtweak/model/family.h"

namespace normtweak::model {

// The rows of a family: those of all families, with what its own rows change, and then those that it adds. In the order
// in which they are read, since a fallback may be a multiple of an earlier field.
std::vector<Hyperparameter> hyperparameters(const Family& family);

// The key in config.json of a field; empty if it has none.
std::string_view key_of(const Family& family, const Hyperparameter::Field& field);

// Whether every GGUF file has to have it.
bool is_in_every_gguf(const Hyperparameter::Field& field);

}  // namespace normtweak::model
