// Rows of text with what the float model makes of them, computed once: its last hidden states, after its final norm.
#pragma once
#include <ATen/core/Tensor.h>

#include "normtweak/base/processes.h"
#include "normtweak/base/progress.h"
#include "normtweak/calibrate/token_batch.h"
#include "normtweak/model/decoder.h"
#include "normtweak/tweak/student.h"

namespace normtweak::tweak {

class TaughtRows {
 public:
  // The hidden states are kept in host memory in the teacher's type of products; where they take more than
  // `memory_bytes`, in a file in the temporary folder (TMPDIR) that vanishes with the process. Throws Error where that
  // has no room.
  // Several processes share the pass and then have all rows each, except on disk, where each passes over all of them.
  TaughtRows(const model::Decoder& teacher, const calibrate::TokenBatch& text, Stage& stage,
             std::int64_t memory_bytes = share_of_memory({}), const Processes& processes = {});

  // Tokens that pass through the teacher in this process, and so what the constructor advances its stage by. All
  // processes have to ask together.
  static std::int64_t tokens_to_pass(const model::Decoder& teacher, const calibrate::TokenBatch& text,
                                     std::int64_t memory_bytes, const Processes& processes);

  // A quarter of the machine's memory, shared by its processes: this one's part, in bytes.
  static std::int64_t share_of_memory(const Processes& processes);

  std::int64_t rows() const { return text_.samples(); }
  std::int64_t row_tokens() const { return text_.tokens(); }  // padding included

  // rows: i64 [count] on the CPU
  DistillationBatch pick(const at::Tensor& rows, c10::Device device) const;

  // Tokens that are no padding.
  double counted_tokens() const;
  double counted_tokens(const at::Tensor& rows) const;

 private:
  // The float model's hidden states of rows [begin, begin + count) → into `hidden`.
  void teach(const model::Decoder& teacher, Share rows, at::Tensor hidden, Stage& stage) const;

  calibrate::TokenBatch text_;
  at::Tensor hidden_;  // [rows, tokens, hidden] on the CPU
};

}  // namespace normtweak::tweak
