// The whole model: embedding, blocks, final norm, head. One generic decoder, built from a family's table of facts.
#pragma once
#include <ATen/core/Tensor.h>

#include <limits>
#include <memory>
#include <vector>

#include "normtweak/model/block_store.h"
#include "normtweak/model/checkpoint.h"

namespace normtweak::model {

struct LoadOptions {
  c10::Device device = at::kCPU;
  at::ScalarType type = at::kFloat;         // of matrix products and of float weights; norms and biases stay F32
  Residence residence = Residence::device;  // of the blocks; all but `file` read them now
  std::int64_t workspace = std::numeric_limits<std::int64_t>::max();  // becomes the decoder's
};

struct Decoder {
  const Family* family = nullptr;
  ModelConfig config;
  c10::Device device = at::kCPU;
  at::ScalarType type = at::kFloat;
  at::Tensor embedding;  // [vocabulary, hidden] in `type`
  at::Tensor positions;  // f32 [context, hidden]; undefined where positions are rotary
  Norm final_norm;
  Linear head;  // its weight is the embedding where the two are tied
  std::shared_ptr<const GrowingRotaryTable> rotary;
  BlockStore blocks;
  // Bytes that a pass may take on the device beside the weights: activations, logits, caches.
  std::int64_t workspace = std::numeric_limits<std::int64_t>::max();
};

// Throws Error naming file, tensor, expected and found when a tensor is missing or of the wrong shape.
Decoder load_decoder(const Checkpoint& checkpoint, const LoadOptions& options);

// A linear of some block, as config.json has it. Nothing is read for it.
struct LinearShape {
  std::string name;  // Hugging Face module name
  std::int64_t out = 0, in = 0;
  bool has_bias = false;
};
std::vector<LinearShape> linear_shapes(const Checkpoint& checkpoint, int block);

// The same model with products in another type; quantized blocks are shared, not copied.
Decoder with_type(const Decoder& decoder, at::ScalarType type);

// F32 blocks made from those of `decoder` whenever one is asked for: exact where their type is the checkpoint's own.
BlockStore widened_blocks(const Decoder& decoder);

// The blocks and the final norm of one decoder with the embedding and head of another: a model that was tuned in a
// short type, to be scored with the values that its file will hold.
Decoder with_blocks(const Decoder& outside, const Decoder& blocks);

// ids: i64 [samples, tokens] → f32 [samples, tokens, hidden]. `start`: position of the first token.
at::Tensor embed(const Decoder& decoder, const at::Tensor& ids, std::int64_t start = 0);

// The context for a pass over whole rows (no cache) with this decoder.
BlockContext block_context(const Decoder& decoder);

// How many rows of `tokens` go through the blocks together, without gradients: as many as make `usual` tokens, or fewer
// where their activations would not fit into half of the workspace; at least one.
std::int64_t rows_in_one_pass(const Decoder& decoder, std::int64_t tokens, std::int64_t usual);

// ids: i64 [samples, tokens] → the last hidden state, after the final norm, in the decoder's type.
at::Tensor last_hidden_state(const Decoder& decoder, const at::Tensor& ids);

// hidden: as from last_hidden_state → f32 [..., vocabulary]
at::Tensor logits(const Decoder& decoder, const at::Tensor& hidden);

// Mean bits that a quantized checkpoint holds for each weight of the blocks' linears (float ones counted with the
// checkpoint's stored type).
double bits_per_weight(const Decoder& decoder);

}  // namespace normtweak::model
