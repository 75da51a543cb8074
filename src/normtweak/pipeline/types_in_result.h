// The dtypes in which a folder stores the floats of a model.
#pragma once
#include <string>

#include "normtweak/model/checkpoint.h"

namespace normtweak::pipeline {

// Whether floats of `original` are converted for a result that stores them in `stored`: if its config names another
// dtype, or if it is a float model and one of its tensors has another. Readers load everything in the config's dtype,
// so that tensors of several would be rounded only there. Otherwise, and in a model that came quantized, each keeps its
// dtype.
bool converts_floats(const model::Checkpoint& original, at::ScalarType stored);

class TypesInResult {
 public:
  // original: must outlive this.
  TypesInResult(const model::Checkpoint& original, at::ScalarType stored)
      : original_(original), stored_(stored), converts_(converts_floats(original, stored)) {}

  // Of a tensor of the original.
  at::ScalarType of(const std::string& name) const;
  bool converts() const { return converts_; }

 private:
  const model::Checkpoint& original_;
  at::ScalarType stored_;
  bool converts_;
};

}  // namespace normtweak::pipeline
