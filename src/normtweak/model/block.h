// One transformer layer: attention and an MLP (or a mixture of experts), around a residual stream.
#pragma once
#include <ATen/core/Tensor.h>

#include <compare>
#include <functional>
#include <vector>

#include "normtweak/model/attention.h"
#include "normtweak/model/config.h"
#include "normtweak/model/family.h"
#include "normtweak/model/linear.h"
#include "normtweak/model/norm.h"

namespace normtweak::model {

// Where linears take their input. Linears at one place share the input, and so a Hessian. Each expert has places of its
// own, which some of the tokens reach.
enum class PlaceKind { attention, attention_output, mlp, mlp_down };
constexpr std::size_t kPlaceKinds = 4;

struct Place {
  PlaceKind kind = PlaceKind::attention;
  int expert = -1;  // -1: of all tokens
  auto operator<=>(const Place&) const = default;
};

struct BlockNorm {
  NormRole role;
  Norm norm;
};

struct BlockLinear {
  LinearRole role;
  int expert = -1;  // -1: none
  Linear linear = {};

  Place place() const;
};

// The parts that its family's rows give it. Whatever concerns all norms or all linears loops over these lists.
struct Block {
  int index = 0;
  LayerFacts facts;
  std::vector<BlockNorm> norms;
  std::vector<BlockLinear> linears;  // in the order in which they are used
};

// The first part in this role; null if there is none.
const Norm* find(const Block& block, NormRole role);
const Linear* find(const Block& block, LinearRole role, int expert = -1);
Norm* find(Block& block, NormRole role);
Linear* find(Block& block, LinearRole role, int expert = -1);

// The place whose input a linear in this role reads.
Place place_of(LinearRole role, int expert);

// Whether a linear in this role is never quantized: a router is small, and decides which weights are used at all.
bool stays_float(LinearRole role);

// Whether the outputs of the linears at this place are added to the residual stream as they are.
bool adds_to_stream(const Place& place, Topology topology);

// The same block with `change` applied to each of its tensors; undefined tensors are skipped.
Block map_tensors(const Block& block, const std::function<at::Tensor(const at::Tensor&)>& change);

// Keys and values of the tokens seen so far, for one block: [samples, key_value_heads, capacity, head_size].
struct KeyValueCache {
  at::Tensor keys, values;
};

// What a pass shows of a place: once before its linears, with their input, and once after each of them.
struct Seen {
  Place place;
  at::Tensor input = {};     // [samples, tokens, in] in the compute dtype; of an expert, [its tokens, in]
  at::Tensor tokens = {};    // of an expert: i64 [its tokens], counted through all rows; otherwise undefined
  at::Tensor residual = {};  // f32 [samples, tokens, hidden]: the stream that outputs are added to, divided by
                             // residual_scale; undefined if they are not added to it as they are
  at::Tensor stream = {};    // f32 [samples, tokens, hidden]: the stream that the block's half adds to; undefined of an
                             // expert and after a linear
  LinearRole role = LinearRole::query;
  const Linear* linear = nullptr;  // whose output follows; null before the linears
  at::Tensor output = {};          // like the input, [..., out]; undefined before the linears

  bool is_router() const { return linear != nullptr && role == LinearRole::router; }
};
// Returns whether the pass may end there.
using Tap = std::function<bool(const Seen&)>;

// What a forward pass needs besides the block's own tensors.
struct BlockContext {
  const ModelConfig* config = nullptr;
  const AttentionTables* tables = nullptr;
  at::ScalarType type = at::kFloat;  // compute dtype; the residual stream is always F32
  KeyValueCache* cache = nullptr;    // for decoding; null: no earlier tokens
  std::int64_t start = 0;            // position of the first token
  Tap tap = {};
  const Seen* from = nullptr;  // what an earlier pass of the same rows saw at a place, not of an expert: this pass goes
                               // on there, and computes nothing that lies before it
};

// hidden: f32 [samples, tokens, hidden] → the same shape; undefined if the tap ended the pass. Attention is causal;
// rows may be padded on the right. Differentiable in hidden and in every tensor of the block that requires a gradient.
at::Tensor forward(const Block& block, const at::Tensor& hidden, const BlockContext& context);

}  // namespace normtweak::model
