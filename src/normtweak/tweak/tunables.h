// The floats of a quantized model that may be tuned, each with its F32 master copy and the dtypes in which it is stored
// and loaded.
//
//     value = round(start + unit * change)
//
// The optimiser updates `change` only, so that a learning rate has the same effect on large and small scales, and
// `change = 0` is the untouched state. All floats of a group are in one flat buffer, so that an optimiser step, a
// rounding or an all-reduce takes a few operations, however many tensors there are.
#pragma once
#include <ATen/core/Tensor.h>

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/model/block.h"
#include "normtweak/model/norm.h"

namespace normtweak::tweak {

enum class TunableGroup {
  norms,
  router_norms,  // those that feed a router: a small change may send tokens to other experts
  biases,
  scales,
  zeros,
  codebooks
};

// The group of the norm in this role in a block with these facts.
TunableGroup group_of(model::NormRole role, const model::LayerFacts& facts);

std::string_view group_name(TunableGroup group);

// Parses "norms,scales". `scales` includes codebooks, k-means' counterpart of scales. Throws Error listing the names.
std::set<TunableGroup> parse_groups(std::string_view list);

// A float tensor of some part of a model that may be tuned.
struct TunableField {
  std::string name;  // similar to that in the saved file: "model.layers.3.mlp.up_proj.scales"
  TunableGroup group = TunableGroup::norms;
  at::Tensor start;  // f32, the untouched values
  // dtypes in which the file stores the values and in which readers load them.
  at::ScalarType stored = at::kFloat, loaded = at::kFloat;
};

// The floats of a part that belong to one of `groups`. `Part` is model::Block or model::Norm. loaded: dtype in which
// readers load the saved model's floats; norms and biases are also stored in it, unless they come from a file that is
// changed in place.
template <class Part>
std::vector<TunableField> tunable_fields(const Part& part, const std::set<TunableGroup>& groups, at::ScalarType loaded);

// All tensors have the shape of the float in the model; all but `value` are views of the set's buffers.
struct Tunable {
  std::string name;
  TunableGroup group = TunableGroup::norms;
  at::Tensor value;     // f32, a leaf that requires a gradient: the value that readers of the saved file get
  at::Tensor start;     // f32
  at::Tensor unit;      // f32: 1 for norms, biases and zeros, the start for scales, a channel's size for codebooks
  at::Tensor change;    // f32
  at::Tensor gradient;  // f32: w.r.t. the value until finish_gradients(), then w.r.t. the change
};

class TunableSet {
 public:
  // In the order of `fields`, which must all be on one device.
  explicit TunableSet(const std::vector<TunableField>& fields);

  // The flat buffers of a group's tunables: f32 [all their elements].
  struct Group {
    TunableGroup group = TunableGroup::norms;
    at::Tensor change, gradient;
  };

  const std::vector<Tunable>& all() const { return tunables_; }
  std::vector<Group> groups() const;

  // Whether no gradient is infinite or NaN.
  bool finite_gradients() const;

  // Recomputes the rounded values after changes were updated.
  void refresh();
  void clear_gradients();
  // Backward passes add d loss / d value; this converts it to d loss / d change. Rounding passes gradients unchanged
  // (straight-through, arXiv 1308.3432).
  void finish_gradients();

 private:
  struct Buffers {
    TunableGroup group;
    at::Tensor start, unit, change, gradient, value;  // f32, flat
    at::ScalarType stored, loaded;
  };
  Buffers& buffers_for(const TunableField& field);

  std::vector<Buffers> buffers_;  // one per group and pair of dtypes
  std::vector<Tunable> tunables_;
};

// The part with its tunable floats replaced by those of `set`, from index `first` on, in the order of tunable_fields().
// frozen: use copies that do not change later and require no gradient.
template <class Part>
Part with_values(Part part, const std::set<TunableGroup>& groups, const TunableSet& set, std::size_t first,
                 bool frozen);

}  // namespace normtweak::tweak
