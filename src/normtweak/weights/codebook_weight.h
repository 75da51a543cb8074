// A linear's weight as codes into a codebook for each output channel:
//     W[o, i] = codebook[o, codes[o, i]]
#pragma once
#include <ATen/core/Tensor.h>

namespace normtweak::weights {

struct CodebookWeight {
  at::Tensor codes;                          // u8  [out, in], each in [0, 2^bits)
  at::Tensor codebook;                       // f32 [out, 2^bits]; master copy, already rounded to `codebook_type`
  int bits = 4;                              // 2..8
  at::ScalarType codebook_type = at::kHalf;  // stored dtype of the codebook
};

// [out, in] in `type`. No gradients: model/linear.h has them. Throws Error if the shapes disagree.
at::Tensor dequantize(const CodebookWeight& weight, at::ScalarType type = at::kFloat);

// The gradient of the codebook, f32 [out, 2^bits], from that of the dequantized weight ([out, in], f32 or bf16).
at::Tensor reduce_to_codebook(const at::Tensor& gradient, const CodebookWeight& weight);

// Stored bits per weight: codes and codebook.
double bits_per_weight(const CodebookWeight& weight);

}  // namespace normtweak::weights
