// The whole model: embedding, blocks, final norm, head. One generic decoder, built from a family's table of facts.
#pragma once
#include <ATen/core/Tensor.h>

#include <limits>
#include <memory>
#include <vector>

#include "normtweak/model/block_store.h"
#include "normtweak/model/checkpoint.h"
#include "normtweak/model/parts.h"

namespace normtweak::model {

struct LoadOptions {
  c10::Device device = at::kCPU;
  at::ScalarType type = at::kFloat;         // compute dtype, also of float weights; norms and biases stay F32
  Residence residence = Residence::device;  // of the blocks; all but `file` read them at once
  std::int64_t workspace = std::numeric_limits<std::int64_t>::max();  // copied to the decoder
};

struct Decoder {
  const Family* family = nullptr;
  ModelConfig config;
  c10::Device device = at::kCPU;
  at::ScalarType type = at::kFloat;
  at::Tensor embedding;  // [vocabulary, embedding] in `type`
  at::Tensor positions;  // f32 [positions, hidden], or undefined
  Norm embedding_norm = {.kind = NormKind::none};
  at::Tensor project_in, project_out;  // f32 [hidden, embedding], [embedding, hidden]; undefined if both are one size
  Norm final_norm = {.kind = NormKind::none};
  Linear head;  // its weight is the embedding if the two are tied
  std::shared_ptr<const AttentionTables> tables;
  BlockStore blocks;
  // Bytes of device memory available to a pass besides the weights: activations, logits, caches.
  std::int64_t workspace = std::numeric_limits<std::int64_t>::max();
  std::string origin;  // the checkpoint's path, for messages
};

// Throws Error naming file, tensor, expected and found when a tensor is missing or of the wrong shape.
Decoder load_decoder(const Checkpoint& checkpoint, const LoadOptions& options);

// The linears of a block, derived from config.json alone.
std::vector<LinearShape> linear_shapes(const Checkpoint& checkpoint, int block);

// The same model with another compute dtype; quantized blocks are shared, not copied.
Decoder with_type(const Decoder& decoder, at::ScalarType type);

// F32 blocks, converted from those of `decoder` on each access: exact if their dtype is the checkpoint's own.
BlockStore widened_blocks(const Decoder& decoder);

// The blocks and final norm of one decoder with the embedding and head of another: for a model tuned in 16 bits that is
// to be scored with the values that its file will hold.
Decoder with_blocks(const Decoder& outside, const Decoder& blocks);

// Tables that passes look up, for a decoder with this config.
std::shared_ptr<const AttentionTables> attention_tables(const ModelConfig& config, c10::Device device);

// Rows of `tokens` tokens per forward pass without gradients: as many as make `usual` tokens, or fewer if their
// activations would exceed half of the workspace; at least one. `usual` bounds speed, not memory: more tokens at a time
// make products no faster.
std::int64_t rows_in_one_pass(const Decoder& decoder, std::int64_t tokens, std::int64_t usual);

// Mean stored bits per weight of the blocks' linears (float ones count with the checkpoint's stored dtype).
double bits_per_weight(const Decoder& decoder);

}  // namespace normtweak::model
