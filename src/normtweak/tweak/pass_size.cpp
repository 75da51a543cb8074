#include "normtweak/tweak/pass_size.h"

#include <algorithm>

#include "normtweak/base/batch_size.h"
#include "normtweak/model/activations.h"

namespace normtweak::tweak {
namespace {

// On a CPU passes of more rows are no faster, and its memory serves other programs as well. A single row may take more.
constexpr std::int64_t kActivationBytesCpu = std::int64_t{3} << 30;

// Memory for activations. A quarter of the workspace is for the head, weight gradients, and temporaries of the backward
// pass.
std::int64_t activation_bytes(const model::Decoder& decoder) { return decoder.workspace / 4 * 3; }

}  // namespace

PassSize pass_size(const model::Decoder& decoder, std::int64_t row_tokens, std::int64_t batch_rows, std::int64_t bytes,
                   bool together) {
  const auto limit = bytes > 0 ? bytes : activation_bytes(decoder);
  const auto several = bytes > 0 || decoder.device.is_cuda() ? limit : std::min(limit, kActivationBytesCpu);
  const auto& config = decoder.config;
  const auto row_bytes = config.layers * row_tokens * graph_bytes(config, decoder.device, decoder.type);
  // Weights that are learned are kept dequantized for the backward pass.
  const auto learned = together ? blocks_bytes(config, decoder.type) : 0;
  if (together && (batch_rows * row_bytes + learned > several || !decoder.blocks.all_on_device())) {
    const auto inputs = config.layers * config.hidden * batch_rows * row_tokens * std::int64_t{sizeof(float)};
    const auto one = row_tokens * graph_bytes(config, decoder.device, decoder.type);
    const auto rows = even_batch_size((several - inputs) / one, batch_rows);
    return {.rows = rows, .keep_activations = false, .bytes = inputs + rows * one};
  }
  // The tensors that autograd saves keep a block's weights alive, so streamed blocks would all stay on the device.
  if (row_bytes > limit || !decoder.blocks.all_on_device()) {
    const auto rerun = rerun_bytes(config, decoder.device, decoder.type, row_tokens);
    const auto rows = even_batch_size(several / rerun, batch_rows);
    return {.rows = rows, .keep_activations = false, .bytes = rows * rerun};
  }
  const auto rows = even_batch_size(several / row_bytes, batch_rows);
  return {.rows = rows, .keep_activations = true, .bytes = rows * row_bytes + learned};
}

}  // namespace normtweak::tweak
