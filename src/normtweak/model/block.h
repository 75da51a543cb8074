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
  std::optional<Linear> gate;  // absent where the MLP is not gated
  Linear up, down;
};

// The four places where a linear takes its input; linears at the same place share it, and so their Hessian.
enum class LinearInput { attention, attention_output, mlp, mlp_down };
constexpr int kLinearInputs = 4;

struct PlacedLinear {
  Linear* linear;
  LinearInput input;
};
// All linears of the block, in the order in which they are used.
std::vector<PlacedLinear> linears(Block& block);
std::vector<const Linear*> linears(const Block& block);

// The same block with what `change` makes of each of its tensors; those that are not defined are passed over.
Block map_tensors(const Block& block, const std::function<at::Tensor(const at::Tensor&)>& change);

// Keys and values of the tokens seen so far, for one block: [samples, key_value_heads, capacity, head_size].
struct KeyValueCache {
  at::Tensor keys, values;
};

// What a forward pass needs beside the block's own tensors.
struct BlockContext {
  const ModelConfig* config = nullptr;
  const GrowingRotaryTable* rotary = nullptr;  // null where positions are learned
  at::ScalarType type = at::kFloat;            // of products; the residual stream itself is F32
  KeyValueCache* cache = nullptr;              // decoding; null: the tokens given are all there are
  std::int64_t start = 0;                      // position of the first token
  std::function<void(LinearInput, const at::Tensor&)> observe = {};  // sees each linear's input [samples, tokens, in]
  std::function<void(LinearInput, const at::Tensor&)> observe_output = {};  // and what each linear makes of it
};

// hidden: f32 [samples, tokens, hidden] → the same shape. Attention is causal; rows may be padded on the right.
// Differentiable in hidden and in everything of the block that requires a gradient.
at::Tensor forward(const Block& block, const at::Tensor& hidden, const BlockContext& context);

// What the linears at one place read and, for those that write to the residual stream, what their output is added to.
struct PlaceInput {
  at::Tensor input;     // [samples, tokens, in] in the type of products
  at::Tensor residual;  // f32 [samples, tokens, hidden]; undefined for `attention` and `mlp`
};
// The same pass, only as far as that place. No cache.
PlaceInput forward_to(LinearInput place, const Block& block, const at::Tensor& hidden, const BlockContext& context);

}  // namespace normtweak::model
