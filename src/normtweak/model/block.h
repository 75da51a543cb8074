// One transformer layer: x + attention(norm(x)), then x + mlp(norm(x)).
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "normtweak/model/config.h"
#include "normtweak/model/linear.h"
#include "normtweak/model/norm.h"
#include "normtweak/model/rotary.h"

namespace normtweak::model {

struct Block {
  int index = 0;
  Norm attention_norm, mlp_norm;
  std::vector<Linear> query_key_value;  // one fused linear, or three
  Linear attention_output;
  std::optional<Linear> gate;  // absent if the MLP is not gated
  Linear up, down;
};

// The four places where linears take their input. Linears at one place share the input, and so a Hessian.
enum class LinearInput { attention, attention_output, mlp, mlp_down };
constexpr int kLinearInputs = 4;

struct PlacedLinear {
  Linear* linear;
  LinearInput input;
};
// All linears of the block, in the order in which they are used.
std::vector<PlacedLinear> linears(Block& block);
std::vector<const Linear*> linears(const Block& block);

// The same block with `change` applied to each of its tensors; undefined tensors are skipped.
Block map_tensors(const Block& block, const std::function<at::Tensor(const at::Tensor&)>& change);

// Keys and values of the tokens seen so far, for one block: [samples, key_value_heads, capacity, head_size].
struct KeyValueCache {
  at::Tensor keys, values;
};

// What a forward pass needs besides the block's own tensors.
struct BlockContext {
  const ModelConfig* config = nullptr;
  const GrowingRotaryTable* rotary = nullptr;                        // null if positions are learned
  at::ScalarType type = at::kFloat;                                  // compute dtype; the residual stream is always F32
  KeyValueCache* cache = nullptr;                                    // for decoding; null: no earlier tokens
  std::int64_t start = 0;                                            // position of the first token
  std::function<void(LinearInput, const at::Tensor&)> observe = {};  // gets each linear's input [samples, tokens, in]
  std::function<void(LinearInput, const at::Tensor&)> observe_output = {};  // the same, with each output
};

// hidden: f32 [samples, tokens, hidden] → the same shape. Attention is causal; rows may be padded on the right.
// Differentiable in hidden and in every tensor of the block that requires a gradient.
at::Tensor forward(const Block& block, const at::Tensor& hidden, const BlockContext& context);

// The input of the linears at one place and, for linears that write to the residual stream, the stream that they add
// to.
struct PlaceInput {
  at::Tensor input;     // [samples, tokens, in] in the compute dtype
  at::Tensor residual;  // f32 [samples, tokens, hidden]; undefined for `attention` and `mlp`
};
// Runs the forward pass up to that place. No cache.
PlaceInput forward_to(LinearInput place, const Block& block, const at::Tensor& hidden, const BlockContext& context);

}  // namespace normtweak::model
