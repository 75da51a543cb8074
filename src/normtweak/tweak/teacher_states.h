// Rows of text with what the float model predicts after each token: its last hidden states (after the final norm),
// computed once, and its head.
#pragma once
#include <ATen/core/Tensor.h>

#include "normtweak/base/processes/processes.h"
#include "normtweak/base/progress.h"
#include "normtweak/calibrate/token_batch.h"
#include "normtweak/model/decoder.h"
#include "normtweak/tweak/student.h"

namespace normtweak::tweak {

class TeacherStates {
 public:
  // The hidden states are kept in the teacher's compute dtype, on its GPU if they take a small share of the workspace
  // and one process does the work, and else in host memory. If they take more than `memory_bytes` there, they go to a
  // file in the temporary folder (TMPDIR) that vanishes with the process; throws Error if there is no room
  // for it. Processes share the pass, and each then holds all rows; with files, each process runs the pass over all
  // rows itself.
  TeacherStates(const model::Decoder& teacher, const calibrate::TokenBatch& text, Stage& stage,
                std::int64_t memory_bytes = share_of_memory({}), const Processes& processes = {});

  // Number of tokens that this process passes through the teacher, by which the constructor advances its stage. All
  // processes must call it together.
  static std::int64_t tokens_to_pass(const model::Decoder& teacher, const calibrate::TokenBatch& text,
                                     std::int64_t memory_bytes, const Processes& processes);

  // This process's share, in bytes, of a quarter of the machine's memory.
  static std::int64_t share_of_memory(const Processes& processes);

  // Other rows of the same shape, in the place of these, and the tokens by which that advances its stage.
  std::int64_t tokens_to_replace(const Processes& processes) const;
  void replace(const model::Decoder& teacher, const calibrate::TokenBatch& text, Stage& stage,
               const Processes& processes = {});

  std::int64_t rows() const { return text_.samples(); }
  std::int64_t row_tokens() const { return text_.tokens(); }  // padding included

  // rows: i64 [count] on the CPU
  DistillationBatch pick(const at::Tensor& rows, c10::Device device) const;

  bool has_padding() const { return text_.mask.defined(); }

  // Number of tokens that are not padding.
  double counted_tokens() const;
  double counted_tokens(const at::Tensor& rows) const;

 private:
  // Fills the share's rows of `mine`, and gathers those of all processes.
  void fill(const model::Decoder& teacher, Share rows, const at::Tensor& mine, Stage& stage,
            const Processes& processes);
  // Writes the float model's hidden states of rows [begin, begin + count) to `hidden`.
  void compute_hidden(const model::Decoder& teacher, Share rows, at::Tensor hidden, Stage& stage) const;

  calibrate::TokenBatch text_;
  bool on_disk_;
  at::Tensor hidden_;  // [rows, tokens, embedding]
  model::Head head_;   // the teacher's own tensors, on its device
};

}  // namespace normtweak::tweak
