// The attention of one new token to a key-value cache, in one CUDA kernel: rotation of the query and the key, appending
// to the cache, and softmax(s q kᵀ) v, reading each cached key and value once. A chain of operators takes a dozen
// launches for that, and torch's fused attention computes whole tiles of queries where there is one.
#pragma once
#include <ATen/core/Tensor.h>

#include "normtweak/model/config.h"
#include "normtweak/model/rotary.h"

namespace normtweak::model {

struct DecodeAttention {
  // bf16 [samples, 1, heads or key_value_heads, head_size], before the rotation.
  at::Tensor query, key, value;
  at::Tensor keys, values;              // bf16 [samples, key_value_heads, capacity, head_size], contiguous: the cache
  const RotaryTable* rotary = nullptr;  // null: no rotation
  std::int64_t position = 0;            // of the new token, and the number of earlier ones in the cache
  std::int64_t window = 0;              // see LayerFacts
  double scale = 1;
};

// Whether the kernel computes this model's attention in this dtype on this device. If not, attend() does.
bool has_decode_kernel(const ModelConfig& config, const at::TensorOptions& type);

// → bf16 [samples, 1, heads * head_size]. The key and the value are then in the cache. Rounded to bf16 as by rotate()
// and attend(); sums are F32.
at::Tensor decode_attention(const DecodeAttention& attention);

}  // namespace normtweak::model
