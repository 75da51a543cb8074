// The tensors of a GGUF file that holds a model, and what each is made of.
#pragma once
#include <string>
#include <vector>

#include "normtweak/formats/gguf_presets.h"
#include "normtweak/model/checkpoint.h"
#include "normtweak/model/gguf_places.h"

namespace normtweak::pipeline {

// A tensor of the file, and the tensors of the model that it is made of: one, or one of each expert or head.
struct GgufTensor {
  std::string name;
  std::vector<std::int64_t> shape;  // row-major, as in the file
  const formats::GgmlType* type = nullptr;
  std::vector<model::GgufPlace> parts;  // in their order; empty: it has `values`
  at::Tensor values;                    // f32; of a tensor that no model has, such as divisors of frequencies
};

// All of them, in the order of the file, those without parts first; without types. Throws Error naming a tensor of the
// model that has no place in such a file.
std::vector<GgufTensor> gguf_file_tensors(const model::Checkpoint& original);

// Gives each the type that llama.cpp's quantizer gives it in this mixture.
void set_preset_types(std::vector<GgufTensor>& tensors, const model::Checkpoint& original,
                      const formats::GgufPreset& preset);

}  // namespace normtweak::pipeline
