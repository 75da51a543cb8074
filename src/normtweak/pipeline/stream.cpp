#include "normtweak/pipeline/stream.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "normtweak/model/activations.h"
#include "normtweak/model/forward_pass.h"

namespace normtweak::pipeline {
namespace {

std::int64_t rows_at_a_time(const model::Decoder& decoder, std::int64_t tokens) {
  constexpr std::int64_t kTokensCpu = 2048, kTokensGpu = 32768;  // with more, passes are no faster
  return rows_in_one_pass(decoder, tokens, decoder.device.is_cuda() ? kTokensGpu : kTokensCpu);
}

// In half of the workspace.
std::int64_t gradient_rows_at_a_time(const model::Decoder& decoder, std::int64_t tokens) {
  const auto row = tokens * graph_bytes(decoder.config, decoder.device, decoder.type);
  return std::max<std::int64_t>(1, decoder.workspace / 2 / row);
}

}  // namespace

Stream::Stream(const model::Decoder& decoder, const calibrate::TokenBatch& text)
    : context_(block_context(decoder)),
      step_(rows_at_a_time(decoder, text.tokens())),
      gradient_step_(gradient_rows_at_a_time(decoder, text.tokens())),
      hidden_(at::empty({text.samples(), text.tokens(), decoder.config.hidden},
                        at::TensorOptions(at::kFloat).device(decoder.device))) {
  in_parts([&](std::int64_t begin, std::int64_t count) {
    put_rows(begin, begin + count, 1, embed(decoder, text.ids.narrow(0, begin, count).to(decoder.device)));
  });
}

at::Tensor Stream::through(const model::Block& block) const {
  auto output = at::empty_like(hidden_);
  in_parts([&](std::int64_t begin, std::int64_t count) {
    output.narrow(0, begin, count).copy_(forward(block, rows(begin, begin + count, 1), context_));
  });
  return output;
}

at::Tensor Stream::through(const model::Norm& norm) const {
  auto output = at::empty_like(hidden_);
  in_parts([&](std::int64_t begin, std::int64_t count) {
    output.narrow(0, begin, count).copy_(forward(norm, rows(begin, begin + count, 1), at::kFloat));
  });
  return output;
}

void Stream::advance(const model::Block& block) {
  in_parts([&](std::int64_t begin, std::int64_t count) {
    put_rows(begin, begin + count, 1, forward(block, rows(begin, begin + count, 1), context_));
  });
}

}  // namespace normtweak::pipeline
