// Memory that a pass takes: the one place that knows the tensors of a block. Estimates, for
// planning memory and for grouping rows. The heads may together be wider than the hidden state (Gemma, Qwen3), so that
// attention is counted by heads × head_size.
#pragma once
#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <cstdint>

#include "normtweak/model/config.h"

namespace normtweak::model {

// Bytes per token at the peak of a pass without gradients, with compute dtype `type`. One block runs at a time.
std::int64_t pass_bytes(const ModelConfig& config, c10::Device device, at::ScalarType type);

// Bytes that autograd keeps per token and block, with compute dtype `type`.
std::int64_t graph_bytes(const ModelConfig& config, c10::Device device, at::ScalarType type);

// Bytes per row of `tokens` tokens if only each block's input is kept, in F32, and the block is recomputed in the
// backward pass.
std::int64_t rerun_bytes(const ModelConfig& config, c10::Device device, at::ScalarType type, std::int64_t tokens);

// About the bytes of all blocks' float weights.
std::int64_t blocks_bytes(const ModelConfig& config, at::ScalarType type);

// Bytes per row of the key-value cache for `tokens` tokens.
std::int64_t cache_bytes(const ModelConfig& config, at::ScalarType type, std::int64_t tokens);

// Bytes per row, besides the cache, of a step that samples one token each after `tokens` others.
std::int64_t sampling_bytes(const ModelConfig& config, c10::Device device, at::ScalarType type, std::int64_t tokens);

// Both: what a row of `tokens` tokens takes that is being written.
std::int64_t writing_bytes(const ModelConfig& config, c10::Device device, at::ScalarType type, std::int64_t tokens);

// Tokens whose F32 logits, and tensors of their size derived from them, exist at the same time: at least 16, and no
// more than fit a sixteenth of the workspace.
std::int64_t tokens_with_logits(std::int64_t vocabulary, c10::Device device, std::int64_t workspace);

}  // namespace normtweak::model
