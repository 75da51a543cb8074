// The floats of a quantized model that may be tuned, each with its F32 master and the types it will be read back in.
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/model/block.h"
#include "normtweak/model/norm.h"

namespace normtweak::tweak {

enum class TunableGroup { norms, biases, scales, zeros, codebooks };

std::string_view group_name(TunableGroup group);

// "norms,scales" → the groups. `scales` takes the codebooks along, which are what k-means has in their place.
// Throws Error listing the names there are.
std::set<TunableGroup> parse_groups(std::string_view list);

// value = start + unit * change, rounded to the types that it is stored and loaded in. The optimiser moves `change`
// only, so that a learning rate means the same for a large and a small scale, and `change = 0` is the untouched state.
struct Tunable {
  std::string name;  // as in the saved file, nearly: "model.layers.3.mlp.up_proj.scales"
  TunableGroup group = TunableGroup::norms;
  at::Tensor start;   // f32
  at::Tensor unit;    // f32, broadcast to start: 1 for norms, biases and zeros; the start itself for scales
  at::Tensor change;  // f32, a leaf that requires a gradient
  at::ScalarType stored = at::kFloat, loaded = at::kFloat;

  at::Tensor value() const;  // f32; the gradient passes the rounding straight through
};

// A part of a model with some of its floats made tunable. `Part` is model::Block or model::Norm.
template <class Part>
class Tuned {
 public:
  // loaded: what readers of the saved model load its floats in; norms and biases are also stored in it.
  Tuned(Part part, const std::set<TunableGroup>& groups, at::ScalarType loaded);

  std::vector<Tunable>& tunables() { return tunables_; }
  const std::vector<Tunable>& tunables() const { return tunables_; }

  // The part with the present values; differentiable in the changes where gradients are enabled.
  Part part() const;

 private:
  Part part_;
  std::set<TunableGroup> groups_;
  std::vector<Tunable> tunables_;
};

using TunedBlock = Tuned<model::Block>;
using TunedNorm = Tuned<model::Norm>;

}  // namespace normtweak::tweak
