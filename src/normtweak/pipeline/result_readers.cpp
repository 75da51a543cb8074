#include "normtweak/pipeline/result_readers.h"

#include "normtweak/model/checkpoint_readers.h"

namespace normtweak::pipeline {
namespace {

std::vector<formats::Reader> readers_of(const model::Checkpoint& original, const model::PackedLinears& linears) {
  const auto config = packed_config(original, linears.packed, linears.floats);
  return formats::packed_readers(config, linears.packed, linears.floats, linears.packed_head);
}

}  // namespace

std::vector<formats::Reader> readers_of_quantized(const model::Checkpoint& original, const SaveFormat& format,
                                                  const std::vector<PlannedLinear>& linears) {
  if (!format.holds_codes) return formats::float_readers();
  model::PackedLinears all;
  for (const auto& [shape, block, plan] : linears) {
    if (plan) {
      all.packed.push_back({shape.name, formats::packed_settings(outline(shape, *plan)), shape.out, shape.in});
    } else {
      all.floats.push_back(shape.name);
    }
  }
  all.floats.emplace_back(original.family->head.name);
  return readers_of(original, all);
}

std::vector<formats::Reader> readers_of_tweaked(const model::Checkpoint& quantized) {
  if (quantized.keeps_codes) return formats::gguf_readers();
  if (!model::is_quantized(quantized)) return formats::float_readers();
  return readers_of(quantized, model::packed_linears(quantized));
}

}  // namespace normtweak::pipeline
