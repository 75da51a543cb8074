#include "normtweak/model/activations.h"

#include <algorithm>

namespace normtweak::model {
namespace {

constexpr std::int64_t kFloat = 4;  // bytes

// Upper bounds for speed, whatever the memory: on a CPU a chunk's logits should stay near the caches; on a GPU the
// product of 1024 tokens with a head of 128 thousand rows keeps it busy.
constexpr std::int64_t kLogitBytesCpu = std::int64_t{64} << 20, kLogitBytesGpu = std::int64_t{512} << 20;

// Upper bound on the tensors of the size of a chunk's logits: those of several models and what is derived from them.
constexpr std::int64_t kLogitTensors = 16;

// Logits, logits by temperature, probabilities; if only the likeliest count, sorted ones, their ids (i64), their sums
// before each, and the kept ones.
constexpr std::int64_t kSamplingTensors = 10;

std::int64_t element(at::ScalarType type) { return static_cast<std::int64_t>(c10::elementSize(type)); }

struct Widths {
  std::int64_t query, key;  // of all heads together
  std::int64_t inner;       // of the MLP, or of the experts that a token reaches
  std::int64_t scores;      // of a token, where they exist in full: F32, with their capped values and their softmax
};
Widths widths(const ModelConfig& config) {
  constexpr std::int64_t kLongRow = 2048;  // of tokens; longer ones are rarely passed
  return {config.heads * config.head_size, config.key_value_heads * config.head_size,
          std::max(config.intermediate, config.experts_per_token * config.expert_intermediate),
          config.attention_cap > 0 ? 3 * config.heads * std::min(config.context, kLongRow) : 0};
}

}  // namespace

// Throughout: the stream, its sum with the attention's output, and a norm's output. Beside them, the largest of:
// attention's queries, keys and values, rotated ones, the repeats of shared heads, the output and its copy; in the MLP,
// where the attention's output is still there, gate, its activation, up and their product; two F32 tensors within a
// norm, and its output in the compute dtype; the product, the MLP's output and its sum with the stream.
std::int64_t pass_bytes(const ModelConfig& config, c10::Device, at::ScalarType type) {
  const auto [query, key, inner, scores] = widths(config);
  const auto hidden = config.hidden, size = element(type);
  const auto attention = (6 * query + 3 * key) * size + scores * kFloat, mlp = (query + 4 * inner) * size,
             norm = hidden * 2 * kFloat + (query + hidden) * size,
             sum = hidden * kFloat + (query + inner + hidden) * size;
  return hidden * (2 * kFloat + size) + std::max({attention, mlp, norm, sum});
}

// The F32 residual stream before each half; both norms' outputs, queries, keys, values, the attention output; gate, its
// activation, up and their product. On a CPU, RMSNorm keeps the normalised stream in each half, and attention a copy.
std::int64_t graph_bytes(const ModelConfig& config, c10::Device device, at::ScalarType type) {
  const auto [query, key, inner, scores] = widths(config);
  const std::int64_t on_cpu = device.is_cpu() ? config.hidden * 2 * kFloat + query * 2 * element(type) : 0;
  return config.hidden * 2 * kFloat + (2 * config.hidden + 2 * query + 2 * key) * element(type) +
         inner * 4 * element(type) + scores * kFloat + on_cpu;
}

std::int64_t rerun_bytes(const ModelConfig& config, c10::Device device, at::ScalarType type, std::int64_t tokens) {
  return tokens * (config.layers * config.hidden * kFloat + graph_bytes(config, device, type));
}

std::int64_t blocks_bytes(const ModelConfig& config, at::ScalarType type) {
  const auto [query, key, inner, scores] = widths(config);
  const auto mlp = config.experts > 0 ? config.experts * config.expert_intermediate : config.intermediate;
  return config.layers * config.hidden * (2 * query + 2 * key + 3 * mlp) * element(type);
}

std::int64_t cache_bytes(const ModelConfig& config, at::ScalarType type, std::int64_t tokens) {
  return 2 * config.layers * widths(config).key * tokens * element(type);
}

// One block's keys and values repeated for the heads that share them, its F32 scores twice, the pass of one token, and
// the logits.
std::int64_t sampling_bytes(const ModelConfig& config, c10::Device device, at::ScalarType type, std::int64_t tokens) {
  return tokens * (2 * widths(config).query * element(type) + 2 * config.heads * kFloat) +
         pass_bytes(config, device, type) + kSamplingTensors * config.vocabulary * kFloat;
}

std::int64_t writing_bytes(const ModelConfig& config, c10::Device device, at::ScalarType type, std::int64_t tokens) {
  return cache_bytes(config, type, tokens) + sampling_bytes(config, device, type, tokens);
}

std::int64_t tokens_with_logits(std::int64_t vocabulary, c10::Device device, std::int64_t workspace) {
  constexpr std::int64_t kLeast = 16;
  const auto bytes = std::min(device.is_cuda() ? kLogitBytesGpu : kLogitBytesCpu, workspace / kLogitTensors);
  return std::max(kLeast, bytes / (kFloat * vocabulary));
}

}  // namespace normtweak::model
