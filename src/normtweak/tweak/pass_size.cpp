#include "normtweak/tweak/pass_size.h"

#include <algorithm>

#include "normtweak/model/activations.h"

namespace normtweak::tweak {
namespace {

constexpr std::int64_t kActivationBytesCpu = std::int64_t{3} << 30, kActivationBytesGpu = std::int64_t{96} << 30;

// As many rows as fit, distributed evenly: a batch of 8 is two passes of 4, not one of 5 and one of 3.
std::int64_t even_rows(std::int64_t fitting, std::int64_t batch_rows) {
  const auto most = std::clamp<std::int64_t>(fitting, 1, batch_rows);
  const auto passes = (batch_rows + most - 1) / most;
  return (batch_rows + passes - 1) / passes;
}

}  // namespace

PassSize pass_size(const model::Decoder& decoder, std::int64_t row_tokens, std::int64_t batch_rows,
                   std::int64_t bytes) {
  const auto usual = decoder.device.is_cuda() ? kActivationBytesGpu : kActivationBytesCpu;
  // A quarter of the workspace is for the head, weight gradients, and temporaries of the backward pass.
  const auto limit = bytes > 0 ? bytes : std::min(usual, decoder.workspace / 4 * 3);
  const auto& config = decoder.config;
  const auto row_bytes = config.layers * row_tokens * graph_bytes(config, decoder.device, decoder.type);
  // The tensors that autograd saves keep a block's weights alive, so streamed blocks would all stay on the device.
  if (row_bytes > limit || !decoder.blocks.all_on_device()) {
    const auto rerun = rerun_bytes(config, decoder.device, decoder.type, row_tokens);
    return {.rows = even_rows(limit / rerun, batch_rows), .keep_activations = false};
  }
  return {.rows = even_rows(limit / row_bytes, batch_rows), .keep_activations = true};
}

}  // namespace normtweak::tweak
