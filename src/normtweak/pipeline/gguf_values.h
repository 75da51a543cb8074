// The values of a model's tensors in the types of a GGUF file.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <utility>
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

// Where the tensors of a file come from: the weights of a model that are no longer those of the original, everything
// else from the original, which must outlive this.
class GgufValues {
 public:
  // Makes a weight when it is written; vectors are floats, too.
  using Maker = std::function<weights::Weight()>;
  using Makers = std::map<std::string, Maker>;  // by the Hugging Face name of the tensor

  GgufValues(const model::Checkpoint& original, Makers changed) : original_(original), changed_(std::move(changed)) {}

  // Hands the tensor on in `type`, in the order of rows that the file has. Throws Error naming a weight in blocks of
  // another type, whose codes would be lost.
  void write(const model::GgufPlace& place, const formats::GgmlType& type, const formats::GgufSink& sink) const;

 private:
  void write_blocks(const model::GgufPlace& place, const weights::BlockWeight& weight, const formats::GgmlType& type,
                    const formats::GgufSink& sink) const;
  void write_floats(const model::GgufPlace& place, const at::Tensor& values, const formats::GgmlType& type,
                    const formats::GgufSink& sink) const;

  const model::Checkpoint& original_;
  Makers changed_;
};

// The norms, biases and linears of a decoder.
GgufValues::Makers values_of(const model::Decoder& decoder);

}  // namespace normtweak::pipeline
