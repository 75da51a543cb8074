#include "normtweak/model/decoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/embedding.h>

#include "normtweak/base/error.h"

namespace normtweak::model {

BlockStore::BlockStore(int count, bool keep, std::function<Block(int)> load)
    : blocks_(static_cast<std::size_t>(count)), keep_(keep), load_(std::move(load)) {}

std::shared_ptr<const Block> BlockStore::get(int index) const {
  auto& kept = blocks_.at(static_cast<std::size_t>(index));
  if (kept) return kept;
  auto loaded = std::make_shared<const Block>(load_(index));
  if (keep_) kept = loaded;
  return loaded;
}

void BlockStore::put(int index, std::shared_ptr<const Block> block) {
  blocks_.at(static_cast<std::size_t>(index)) = std::move(block);
}

Decoder with_type(const Decoder& decoder, at::ScalarType type) {
  if (type == decoder.type) return decoder;
  Decoder changed = decoder;
  changed.type = type;
  changed.embedding = decoder.embedding.to(type);
  if (decoder.config.tied_head) {
    changed.head.weight = weights::FloatWeight{changed.embedding};
  } else if (const auto* head = std::get_if<weights::FloatWeight>(&decoder.head.weight)) {
    changed.head.weight = weights::FloatWeight{head->values.to(type)};
  }
  return changed;
}

Decoder with_blocks(const Decoder& outside, const Decoder& blocks) {
  Decoder whole = outside;
  whole.blocks = blocks.blocks;
  whole.final_norm = blocks.final_norm;
  return whole;
}

at::Tensor embed(const Decoder& decoder, const at::Tensor& ids, std::int64_t start) {
  const auto tokens = at::embedding(decoder.embedding, ids).to(at::kFloat);
  return decoder.positions.defined() ? tokens + decoder.positions.narrow(0, start, ids.size(1)) : tokens;
}

BlockContext block_context(const Decoder& decoder) {
  return {.config = &decoder.config, .rotary = decoder.rotary.get(), .type = decoder.type};
}

at::Tensor last_hidden_state(const Decoder& decoder, const at::Tensor& ids) {
  const auto context = block_context(decoder);
  auto hidden = embed(decoder, ids);
  for (int i = 0; i < decoder.blocks.size(); ++i) hidden = forward(*decoder.blocks.get(i), hidden, context);
  return forward(decoder.final_norm, hidden, decoder.type);
}

at::Tensor logits(const Decoder& decoder, const at::Tensor& hidden) {
  return forward(decoder.head, hidden).to(at::kFloat);
}

double bits_per_weight(const Decoder& decoder) {
  const auto stored_bits = 8.0 * static_cast<double>(c10::elementSize(decoder.config.stored_type));
  double bits = 0, weights = 0;
  for (int i = 0; i < decoder.blocks.size(); ++i) {
    const auto block = decoder.blocks.get(i);
    for (const auto* linear : linears(*block)) {
      const auto shape = weights::shape(linear->weight);
      const auto count = static_cast<double>(shape[0] * shape[1]);
      weights += count;
      bits += count * (weights::is_quantized(linear->weight) ? weights::bits_per_weight(linear->weight) : stored_bits);
    }
  }
  return bits / weights;
}

}  // namespace normtweak::model
