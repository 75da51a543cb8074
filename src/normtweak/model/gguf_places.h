// Where GGUF files have the tensors of Hugging Face's checkpoints, and in which order of rows: read one way by the
// reader, and the other way by the writer.
#pragma once
#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>
#include <vector>

#include "normtweak/model/family.h"

namespace normtweak::model {

// The tensor of divisors of the rotary frequencies. Hugging Face has a rule in the config instead.
inline constexpr std::string_view kRotaryFactors = "rope_freqs.weight";
// Those of longrope, which Hugging Face has in the config as well.
inline constexpr std::string_view kLongFactors = "rope_factors_long.weight",
                                  kShortFactors = "rope_factors_short.weight";

// How a tensor of Hugging Face's lies in a file.
struct GgufPlace {
  std::string name, gguf;         // the tensor's names
  std::int64_t rotary_heads = 0;  // > 0: in the file, the two halves of each of this many heads are interleaved
  std::int64_t groups = 0;        // > 0: rows q | k | v, which Hugging Face has for each of this many key-value heads
  std::int64_t head_size = 0;     // with `groups`
  bool transpose = false;         // Hugging Face stores Conv1D weights as [in, out]
  double shift = 0;               // is added in the file
  int slice = -1;                 // >= 0: the part of this index of a tensor that holds all experts or heads

  bool reorders() const { return rotary_heads > 0 || groups > 0; }
  // Rows of the file in Hugging Face's order: [rows, ...], or [rows] of a bias.
  at::Tensor in_order(at::Tensor rows) const;
  // i64 [count]: for each row in Hugging Face's order, its number in the file.
  at::Tensor order(std::int64_t count) const;
  // Hugging Face's tensor from the file's, and the other way round. Of experts and heads: of one of them.
  at::Tensor from_file(const at::Tensor& stored) const;
  at::Tensor to_file(const at::Tensor& values) const;
};

// Every tensor that a model of this config may have, in the order in which it is used; biases too, whether or not it
// has them.
std::vector<GgufPlace> gguf_places(const Family& family, const ModelConfig& config);

}  // namespace normtweak::model
