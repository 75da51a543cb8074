#include "normtweak/pipeline/same_model.h"

#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/pipeline/model_facts.h"

namespace normtweak::pipeline {
namespace {

std::vector<ModelFact> facts_of(const model::Checkpoint& checkpoint, bool tied_head) {
  std::vector<ModelFact> facts = {{"family", std::string(checkpoint.family->name)}};
  for (auto& fact : model_facts(*checkpoint.family, checkpoint.numbers)) facts.push_back(std::move(fact));
  facts.push_back({"head tied to the embedding", tied_head ? "yes" : "no"});
  return facts;
}

}  // namespace

void check_same_model(const model::Checkpoint& quantized, const model::Checkpoint& reference) {
  const bool same_head = quantized.numbers.tied_head == reference.numbers.tied_head;
  const auto head = [&](const model::Checkpoint& checkpoint) {
    // Some programs write the head as a copy of the embedding; both are read to detect that.
    return checkpoint.numbers.tied_head || (!same_head && head_copies_embedding(checkpoint));
  };
  const auto difference = first_difference(facts_of(quantized, head(quantized)), facts_of(reference, head(reference)));
  if (!difference) return;
  fail("{}: is no quantization of {}: {}", quantized.path, reference.path, *difference);
}

}  // namespace normtweak::pipeline
