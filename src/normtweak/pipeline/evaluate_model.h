// Evaluates a model, alone or beside the float model that it was made from, on any number of tasks.
#pragma once
#include <string>
#include <vector>

#include "normtweak/evaluate/tasks.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::pipeline {

struct EvaluateOptions {
  std::string model;
  std::string reference;  // empty: none
  std::vector<evaluate::TaskOrder> tasks;
  std::int64_t batch_rows = 0;  // rows per pass; 0: chosen for the device
  Compute compute;
};

struct EvaluatedTask {
  evaluate::TaskOrder order;
  evaluate::TaskResult result;
  double seconds = 0;
};

struct EvaluationResult {
  std::string model;
  bool with_reference = false;
  std::vector<EvaluatedTask> tasks;  // in the order in which they were asked for
};

// Both models are opened, all files read and tokenized and memory planned before weights are loaded, which happens
// once. The tokenizer is the model's, or the reference's if the model has none that can be used. Throws Error saying
// what is wrong with a file or model, or if the two vocabularies differ in size.
EvaluationResult evaluate_model(const EvaluateOptions& options, ProgressSink& progress);

}  // namespace normtweak::pipeline
