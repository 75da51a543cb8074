// A model as a GGUF file that llama.cpp opens: what it will hold is known before the work starts.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "normtweak/formats/gguf_writer.h"
#include "normtweak/model/checkpoint.h"
#include "normtweak/pipeline/gguf_file_tensors.h"
#include "normtweak/pipeline/gguf_values.h"

namespace normtweak::pipeline {

class GgufContents {
 public:
  // original: a model in whatever format. Metadata of a GGUF file are carried over. tensors: those of
  // gguf_file_tensors(), with types. file_type: `general.file_type`. Throws Error naming what llama.cpp's format cannot
  // say of the model: its family, a hyperparameter, its tokenizer.
  GgufContents(const model::Checkpoint& original, std::vector<GgufTensor> tensors, std::uint32_t file_type);

  std::vector<GgufTensor>& tensors() { return tensors_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const formats::GgufKeys& keys() const { return keys_; }
  // Of the file.
  std::int64_t bytes() const;

  // One tensor is made at a time. `write_file`: how. Throws Error naming a weight in blocks of another
  // type than the file's.
  void write(const GgufValues& values, const std::filesystem::path& output,
             WriteFile* write_file = write_file_atomically) const;

 private:
  std::vector<formats::GgufTensorToWrite> described() const;  // without data

  std::vector<GgufTensor> tensors_;
  formats::GgufKeys keys_;
};

}  // namespace normtweak::pipeline
