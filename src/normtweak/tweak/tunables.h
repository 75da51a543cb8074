// The floats of a quantized model that may be tuned, each with its F32 master and the types it will be read back in.
//
//     value = round(start + unit * change)
//
// The optimiser moves `change` only, so that a learning rate means the same for a large and a small scale, and
// `change = 0` is the untouched state. All floats of a group lie in one flat buffer: a step of the optimiser, a
// rounding or an exchange between processes is a few operations, however many tensors there are.
#pragma once
#include <ATen/core/Tensor.h>

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

// A float of some part of a model that may be tuned.
struct TunableField {
  std::string name;  // as in the saved file, nearly: "model.layers.3.mlp.up_proj.scales"
  TunableGroup group = TunableGroup::norms;
  at::Tensor start;  // f32, the untouched values
  // What the file stores, and what its readers load that in.
  at::ScalarType stored = at::kFloat, loaded = at::kFloat;
};

// Those of a part's floats that belong to one of `groups`. `Part` is model::Block or model::Norm.
// loaded: what readers of the saved model load its floats in; norms and biases are also stored in it.
template <class Part>
std::vector<TunableField> tunable_fields(const Part& part, const std::set<TunableGroup>& groups, at::ScalarType loaded);

// All tensors have the shape of the float in the model; all but `value` are views of the set's buffers.
struct Tunable {
  std::string name;
  TunableGroup group = TunableGroup::norms;
  at::Tensor value;     // f32, a leaf that requires a gradient: what a reader of the saved file gets
  at::Tensor start;     // f32
  at::Tensor unit;      // f32: 1 for norms, biases and zeros, the start for scales, a channel's size for codebooks
  at::Tensor change;    // f32
  at::Tensor gradient;  // f32: of the value until finish_gradients(), of the change afterwards
};

class TunableSet {
 public:
  // In the order of `fields`, which must be on one device.
  explicit TunableSet(const std::vector<TunableField>& fields);

  // What a group's tunables share, flat: f32 [all their elements].
  struct Group {
    TunableGroup group = TunableGroup::norms;
    at::Tensor change, gradient;
  };

  const std::vector<Tunable>& all() const { return tunables_; }
  std::vector<Group> groups() const;

  // Whether no gradient is infinite or NaN.
  bool finite_gradients() const;

  // Rounds anew, after changes were moved.
  void refresh();
  void clear_gradients();
  // Backward passes add d loss / d value; this makes it d loss / d change. The rounding passes it unchanged (arXiv
  // 1308.3432, "straight-through").
  void finish_gradients();

 private:
  struct Buffers {
    TunableGroup group;
    at::Tensor start, unit, change, gradient, value;  // f32, flat
    at::ScalarType stored, loaded;
  };
  Buffers& buffers_for(const TunableField& field);

  std::vector<Buffers> buffers_;  // one for each group and pair of types
  std::vector<Tunable> tunables_;
};

// The part with its tunable floats replaced by those of `set`, from number `first` on, in the order of
// tunable_fields(). frozen: by copies that stay as they are and require no gradient.
template <class Part>
Part with_values(Part part, const std::set<TunableGroup>& groups, const TunableSet& set, std::size_t first,
                 bool frozen);

}  // namespace normtweak::tweak
