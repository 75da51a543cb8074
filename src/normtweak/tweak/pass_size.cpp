#include "normtweak/tweak/pass_size.h"

#include <algorithm>

namespace normtweak::tweak {
namespace {

constexpr std::int64_t kActivationBytesCpu = std::int64_t{3} << 30, kActivationBytesGpu = std::int64_t{96} << 30;

// What autograd keeps of one token in one block: the residual stream before either half in F32; both norms' outputs,
// queries, keys, values, the attention's output; gate, its activation, up and their product. A CPU's RMSNorm keeps four
// F32 tensors of its own in each half, and its attention a copy. An estimate; it decides only how rows are grouped.
std::int64_t activation_bytes_per_row(const model::Decoder& decoder, std::int64_t tokens) {
  const auto& config = decoder.config;
  const auto element = static_cast<std::int64_t>(c10::elementSize(decoder.type));
  constexpr std::int64_t kFloat = 4;  // bytes
  const std::int64_t on_cpu = decoder.device.is_cpu() ? 8 * kFloat + 2 * element : 0;
  const auto per_token = config.hidden * (6 * element + 2 * kFloat + on_cpu) + config.intermediate * 4 * element;
  return config.layers * tokens * per_token;
}

// As many rows as fit, shared out evenly: a batch of 8 is two passes of 4, not one of 5 and one of 3.
std::int64_t even_rows(std::int64_t fitting, std::int64_t batch_rows) {
  const auto most = std::clamp<std::int64_t>(fitting, 1, batch_rows);
  const auto passes = (batch_rows + most - 1) / most;
  return (batch_rows + passes - 1) / passes;
}

}  // namespace

PassSize pass_size(const model::Decoder& decoder, std::int64_t row_tokens, std::int64_t batch_rows,
                   std::int64_t bytes) {
  const auto usual = decoder.device.is_cuda() ? kActivationBytesGpu : kActivationBytesCpu;
  // A quarter of the workspace is for the head, the gradients of weights, and what backward passes need for a moment.
  const auto limit = bytes > 0 ? bytes : std::min(usual, decoder.workspace / 4 * 3);
  const auto row_bytes = activation_bytes_per_row(decoder, row_tokens);
  // What autograd saves of a block holds its weights, so that blocks which come and go would all stay.
  if (row_bytes > limit || !decoder.blocks.all_on_device()) {
    const auto inputs = decoder.config.layers * row_tokens * decoder.config.hidden * 4;  // of every block, F32
    const auto one_block = row_bytes / decoder.config.layers;
    return {.rows = even_rows(limit / (inputs + one_block), batch_rows), .keep_activations = false};
  }
  return {.rows = even_rows(limit / row_bytes, batch_rows), .keep_activations = true};
}

}  // namespace normtweak::tweak
