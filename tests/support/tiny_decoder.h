// A random decoder of a few blocks, small enough to compute everything twice and in F64.
#pragma once
#include <cstdint>

#include "normtweak/model/decoder.h"

namespace normtweak::tests {

// blocks: with a scale each; nested: with sub-blocks, whose scales and minima are integers
enum class Weights { floats, groups, channels, codebook, codebooks_of_groups, blocks, nested };

struct TinyModel {
  bool llama = true;    // RMSNorm, rotary positions, shared key-value heads, gated MLP; false: like GPT-2
  bool biases = false;  // of LLaMA's linears; GPT-2's always have them
  int layers = 2;
  std::int64_t vocabulary = 50, context = 32, hidden = 16, head_size = 4, intermediate = 24;
  std::uint64_t seed = 1;
};

model::Decoder tiny_decoder(const TinyModel& options = {});

// The same with linears of 2 bits: affine with unrounded zeros, or codebooks, for groups of 8 columns or whole rows.
// Masters are F32 and stay so when they are stored.
model::Decoder quantized(const model::Decoder& decoder, Weights weights);
weights::Weight quantized(const at::Tensor& weight, Weights weights);

// The same with one block replaced by what `change` makes of it.
template <class Change>
model::Decoder with_block(model::Decoder decoder, int index, Change&& change) {
  auto block = *decoder.blocks.get(index);
  change(block);
  decoder.blocks.put(index, std::make_shared<const model::Block>(std::move(block)));
  return decoder;
}

// i64 [samples, tokens]
at::Tensor random_ids(const model::Decoder& decoder, std::int64_t samples, std::int64_t tokens);

}  // namespace normtweak::tests
