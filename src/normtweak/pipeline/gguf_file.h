// A model as a GGUF file that llama.cpp opens: what it will hold is known before the work starts.
#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "normtweak/formats/gguf_presets.h"
#include "normtweak/formats/gguf_writer.h"
#include "normtweak/model/checkpoint.h"
#include "normtweak/model/decoder.h"
#include "normtweak/model/gguf_places.h"
#include "normtweak/pipeline/planned_linears.h"

namespace normtweak::pipeline {

// A tensor of the file, and the tensors of the model that it is made of: one, or one of each expert or head.
struct GgufTensor {
  std::string name;
  std::vector<std::int64_t> shape;  // row-major, as in the file
  const formats::GgmlType* type = nullptr;
  std::vector<model::GgufPlace> parts;  // in their order; empty: it has `values`
  at::Tensor values;                    // f32; of a tensor that no model has, such as divisors of frequencies
};

class GgufContents {
 public:
  // original: a float model in whatever format. Metadata of a GGUF file are carried over. Throws Error naming what
  // llama.cpp's format cannot say of it: its family, a tensor, a hyperparameter, its tokenizer. `original` must outlive
  // this.
  GgufContents(const model::Checkpoint& original, const formats::GgufPreset& preset);

  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const formats::GgufKeys& keys() const { return keys_; }
  // The type of one of the model's tensors, by its Hugging Face name; null if the file has no such tensor.
  const formats::GgmlType* type_of(const std::string& name) const;
  // The block types of the model's matrices, by the names of their linears; empty where the file has floats. Empty as a
  // whole for a preset of floats, which takes linears however they were quantized, and dequantizes them.
  std::map<std::string, std::string, std::less<>> block_types() const;
  // Gives linears the types of this plan where it has others: those that rules quantize to another block type, and
  // those that rules skip, which are stored as floats. Throws Error naming two linears that share a tensor of the file,
  // as experts do, and differ.
  void follow(const std::vector<PlannedLinear>& linears);
  // Of the file.
  std::int64_t bytes() const;

  // The decoder with embedding, positions and head as readers of the file see them, in their own dtype.
  model::Decoder as_stored_outside(model::Decoder decoder) const;

  // decoder: the quantized version of the model. Its norms, biases and linears are written, everything else comes from
  // the original, rounded to the nearest value of its type; weights that are in blocks of that type keep their codes.
  // One tensor is made at a time. The file is created, or replaced, atomically.
  void write(const model::Decoder& decoder, const std::filesystem::path& output) const;

 private:
  void list_tensors();
  void choose_types();
  void make_keys();
  void check_faithful() const;

  const model::Checkpoint& original_;
  const formats::GgufPreset& preset_;
  std::vector<GgufTensor> tensors_;
  formats::GgufKeys keys_;
};

}  // namespace normtweak::pipeline
