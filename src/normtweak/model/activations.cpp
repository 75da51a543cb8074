#include "normtweak/model/activations.h"

namespace normtweak::model {
namespace {

constexpr std::int64_t kFloat = 4;  // bytes

}  // namespace

// The F32 residual stream before each half; both norms' outputs, queries, keys, values, the attention output; gate, its
// activation, up and their product. On a CPU, RMSNorm keeps four more F32 tensors in each half, and attention a copy.
std::int64_t graph_bytes(const ModelConfig& config, c10::Device device, at::ScalarType type) {
  const auto element = static_cast<std::int64_t>(c10::elementSize(type));
  const std::int64_t on_cpu = device.is_cpu() ? 8 * kFloat + 2 * element : 0;
  return config.hidden * (6 * element + 2 * kFloat + on_cpu) + config.intermediate * 4 * element;
}

std::int64_t rerun_bytes(const ModelConfig& config, c10::Device device, at::ScalarType type, std::int64_t tokens) {
  return tokens * (config.layers * config.hidden * kFloat + graph_bytes(config, device, type));
}

}  // namespace normtweak::model
