#include "normtweak/pipeline/result_readers.h"

namespace normtweak::pipeline {

std::vector<formats::Reader> readers_of_quantized(const model::Checkpoint& original, const SaveFormat& format,
                                                  const std::vector<PlannedLinear>& linears) {
  if (format.readers != nullptr) return format.readers();
  std::vector<formats::QuantizedModule> quantized;
  std::vector<std::string> left;
  for (const auto& [shape, block, plan] : linears) {
    if (plan) {
      quantized.push_back(outlined_module(shape, *plan));
    } else {
      left.push_back(shape.name);
    }
  }
  left.emplace_back(original.family->head.name);
  const auto config = quantization_config(original, format, quantized, left);
  return format.codes->readers(config, quantized, left, /*head=*/false);
}

}  // namespace normtweak::pipeline
