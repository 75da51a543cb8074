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
  at::ScalarType type = at::kFloat;         // compute dtype, also of float weights; norms and biases stay F32
  Residence residence = Residence::device;  // of the blocks; all but `file` read them at once
  std::int64_t workspace = std::numeric_limits<std::int64_t>::max();  // copied to the decoder
};

struct Decoder {
  const Family* family = nullptr;
  ModelConfig config;
  c10::Device device = at::kCPU;
  at::ScalarType type = at::kFloat;
  at::Tensor embedding;  // [vocabulary, hidden] in `type`
  at::Tensor positions;  // f32 [context, hidden]; undefined if positions are rotary
  Norm final_norm;
  Linear head;  // its weight is the embedding if the two are tied
  std::shared_ptr<const GrowingRotaryTable> rotary;
  BlockStore blocks;
  // Bytes of device memory available to a pass besides the weights: activations, logits, caches.
  std::int64_t workspace = std::numeric_limits<std::int64_t>::max();
  std::string origin;  // the checkpoint's path, for messages
};

// Throws Error naming file, tensor, expected and found when a tensor is missing or of the wrong shape.
Decoder load_decoder(const Checkpoint& checkpoint, const LoadOptions& options);

// A linear of some block, derived from config.json alone.
struct LinearShape {
  std::string name;  // Hugging Face module name
  std::int64_t out = 0, in = 0;
  bool has_bias = false;
  std::string out_from = {}, in_from = {};  // what of the config they follow from, for messages
};
std::vector<LinearShape> linear_shapes(const Checkpoint& checkpoint, int block);

// The same model with another compute dtype; quantized blocks are shared, not copied.
Decoder with_type(const Decoder& decoder, at::ScalarType type);

// F32 blocks, converted from those of `decoder` on each access: exact if their dtype is the checkpoint's own.
BlockStore widened_blocks(const Decoder& decoder);

// The blocks and final norm of one decoder with the embedding and head of another: for a model tuned in 16 bits that is
// to be scored with the values that its file will hold.
Decoder with_blocks(const Decoder& outside, const Decoder& blocks);

// ids: i64 [samples, tokens] → f32 [samples, tokens, hidden]. `start`: position of the first token.
at::Tensor embed(const Decoder& decoder, const at::Tensor& ids, std::int64_t start = 0);

// The context for a pass over whole rows (no cache) with this decoder.
BlockContext block_context(const Decoder& decoder);

// Rows of `tokens` tokens per forward pass without gradients: as many as make `usual` tokens, or fewer if their
// activations would exceed half of the workspace; at least one. `usual` bounds speed, not memory: more tokens at a time
// make products no faster.
std::int64_t rows_in_one_pass(const Decoder& decoder, std::int64_t tokens, std::int64_t usual);

// ids: i64 [samples, tokens] → the last hidden state, after the final norm, in the compute dtype.
at::Tensor last_hidden_state(const Decoder& decoder, const at::Tensor& ids);

// hidden: as from last_hidden_state → f32 [..., vocabulary]
at::Tensor logits(const Decoder& decoder, const at::Tensor& hidden);

// Mean stored bits per weight of the blocks' linears (float ones count with the checkpoint's stored dtype).
double bits_per_weight(const Decoder& decoder);

}  // namespace normtweak::model
