// What a model is evaluated on. A task is a file that makes one of these and a row of the table in tasks.h.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "normtweak/base/progress.h"
#include "normtweak/evaluate/figure.h"
#include "normtweak/evaluate/text_file.h"
#include "normtweak/model/checkpoint.h"
#include "normtweak/model/decoder.h"
#include "normtweak/text/tokenizer.h"

namespace normtweak::evaluate {

// What the user asks for.
struct TaskOrder {
  std::string task;               // a row of tasks()
  TextFile text = {};             // the file that it is scored on, and, of tasks that read a text, how that is cut
  std::int64_t max_examples = 0;  // of tasks that read examples: at most this many, from the start; 0: all
  bool channels = false;          // of drift: the figures of each channel are wanted as well
};

// What files are read with, before the work on models starts.
struct TaskInput {
  const model::Checkpoint& tokenized_by;  // the checkpoint that the tokenizer is from
  const text::Tokenizer& tokenizer;
  std::int64_t context_limit = 0;  // tokens that the model's context holds
};

struct TaskModels {
  const model::Decoder& model;
  const model::Decoder* reference = nullptr;  // the float model that it was made from; may be null
};

// What a block's figures of drift are made of: each value is one channel's.
struct ChannelDrift {
  std::vector<double> mean_shift, variance_shift;          // model minus reference
  std::vector<double> reference_mean, reference_variance;  // to which those are relative
};

struct TaskResult {
  std::vector<Figure> figures = {};
  std::int64_t context = 0, windows = 0;    // of tasks that cut a text into windows: tokens in one, and their number
  std::int64_t tokens_scored = 0;           // and the tokens predicted
  std::vector<ChannelDrift> channels = {};  // of each block, if they are wanted
};

class Task {
 public:
  Task() = default;
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  virtual ~Task() = default;

  // batch_rows: rows per pass; 0: chosen for the device. Throws Error if a model's logits are not finite.
  virtual TaskResult run(const TaskModels& models, std::int64_t batch_rows, ProgressSink& progress) const = 0;
};

}  // namespace normtweak::evaluate
