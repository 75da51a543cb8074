#include "normtweak/model/decoder.h"

#include <ATen/TensorOperators.h>

#include <algorithm>

#include "normtweak/model/activations.h"

namespace normtweak::model {

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

BlockStore widened_blocks(const Decoder& decoder) {
  return {decoder.blocks.size(), Residence::file, [blocks = decoder.blocks](int index) {
            auto block = *blocks.get(index);
            for (auto& part : block.linears) {
              if (auto* floats = std::get_if<weights::FloatWeight>(&part.linear.weight)) {
                floats->values = floats->values.to(at::kFloat);
              }
            }
            return block;
          }};
}

Decoder with_blocks(const Decoder& outside, const Decoder& blocks) {
  Decoder whole = outside;
  whole.blocks = blocks.blocks;
  whole.final_norm = blocks.final_norm;
  return whole;
}

std::shared_ptr<const AttentionTables> attention_tables(const ModelConfig& config, c10::Device device) {
  auto tables = std::make_shared<AttentionTables>();
  for (const auto& rotary : config.rotary) tables->rotary.emplace_back(rotary, device);
  return tables;
}

std::int64_t rows_in_one_pass(const Decoder& decoder, std::int64_t tokens, std::int64_t usual) {
  const auto token_bytes = pass_bytes(decoder.config, decoder.device, decoder.type);
  return std::max<std::int64_t>(1, std::min(usual, decoder.workspace / 2 / token_bytes) / tokens);
}

double bits_per_weight(const Decoder& decoder) {
  const auto stored_bits = 8.0 * static_cast<double>(c10::elementSize(decoder.config.stored_type));
  double bits = 0, weights = 0;
  for (int i = 0; i < decoder.blocks.size(); ++i) {
    const auto block = decoder.blocks.outlined(i);
    for (const auto& part : block.linears) {
      const auto& weight = part.linear.weight;
      const auto shape = weights::shape(weight);
      const auto count = static_cast<double>(shape[0] * shape[1]);
      weights += count;
      bits += count * (weights::is_quantized(weight) ? weights::bits_per_weight(weight) : stored_bits);
    }
  }
  return bits / weights;
}

}  // namespace normtweak::model
