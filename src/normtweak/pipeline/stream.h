// The hidden states of the whole calibration text, advanced from block to block.
#pragma once
#include <ATen/core/Tensor.h>

#include <algorithm>

#include "normtweak/calibrate/token_batch.h"
#include "normtweak/model/decoder.h"

namespace normtweak::pipeline {

class Stream {
 public:
  // Starts with the embedded text. The decoder must outlive the stream.
  Stream(const model::Decoder& decoder, const calibrate::TokenBatch& text);

  const at::Tensor& hidden() const { return hidden_; }  // f32 [samples, tokens, hidden]
  const model::BlockContext& context() const { return context_; }

  std::int64_t rows_in_part() const { return step_; }

  // Rows that one pass through a block takes if it keeps what its backward pass needs.
  std::int64_t rows_with_gradients() const { return gradient_step_; }

  // Calls `work(first row, rows)` for consecutive chunks of rows that fit one pass.
  template <class Work>
  void in_parts(const Work& work) const {
    const auto rows = hidden_.size(0);
    for (std::int64_t begin = 0; begin < rows; begin += step_) work(begin, std::min(step_, rows - begin));
  }

  // The output of `block` on this stream, beside it.
  at::Tensor through(const model::Block& block) const;
  at::Tensor through(const model::Norm& norm) const;

  // The stream becomes that output, part by part, so that it is never held twice.
  void advance(const model::Block& block);

  // The rows first, first + step, … before `end`: a view.
  at::Tensor rows(std::int64_t first, std::int64_t end, std::int64_t step) const {
    return hidden_.slice(0, first, end, step);
  }

  // Writes what leaves a block over what entered it.
  void put_rows(std::int64_t first, std::int64_t end, std::int64_t step, const at::Tensor& output) {
    rows(first, end, step).copy_(output);
  }

 private:
  model::BlockContext context_;
  std::int64_t step_, gradient_step_;
  at::Tensor hidden_;
};

}  // namespace normtweak::pipeline
