// The values of a model's tensors in the types of a GGUF file.
#pragma once
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "normtweak/formats/gguf_writer.h"
#include "normtweak/model/checkpoint.h"
#include "normtweak/model/decoder.h"
#include "normtweak/model/gguf_places.h"

namespace normtweak::pipeline {

// values: f32, [..., columns]. Rounded to the nearest value that the type has. Throws Error, which begins with `what`,
// for a value that does not fit into it.
std::vector<std::byte> stored_bytes(const at::Tensor& values, const formats::GgmlType& type, const std::string& what);

// What readers make of these bytes, in the dtype of `values`.
at::Tensor as_read(const at::Tensor& values, const formats::GgmlType& type, const std::string& what);

// Where the tensors come from: the parts that the decoder has, everything else from the original. Both must outlive
// this.
class GgufValues {
 public:
  GgufValues(const model::Checkpoint& original, const model::Decoder& decoder);

  // Hands the tensor on in `type`, in the order of rows that the file has. Throws Error naming a weight in blocks of
  // another type, whose codes would be lost.
  void write(const model::GgufPlace& place, const formats::GgmlType& type, const formats::GgufSink& sink) const;

 private:
  using Source = std::variant<at::Tensor, const weights::Weight*>;

  void add(const model::Norm& norm);
  void add(const model::Linear& linear);
  void write_blocks(const model::GgufPlace& place, const weights::BlockWeight& weight, const formats::GgmlType& type,
                    const formats::GgufSink& sink) const;
  void write_floats(const model::GgufPlace& place, const at::Tensor& values, const formats::GgmlType& type,
                    const formats::GgufSink& sink) const;

  const model::Checkpoint& original_;
  std::vector<std::shared_ptr<const model::Block>> blocks_;
  std::map<std::string, Source> changed_;  // by the Hugging Face name of the tensor
};

}  // namespace normtweak::pipeline
