#include "normtweak/transform/folds_of.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <fmt/format.h>

#include <algorithm>
#include <functional>

namespace normtweak::transform {
namespace {

using model::LinearRole;
using model::NormRole;
using model::PlaceKind;
using model::Topology;

// Why norms cannot give a factor away; empty: they can.
std::string bound_norms(const model::ModelConfig& config) {
  if (config.topology == Topology::post_norm) {
    return "the residual stream is what they return, so that more than linears reads it";
  }
  if (config.topology == Topology::output_norm)
    return "its norms follow attention and MLP, and linears read the stream";
  if (config.residual_of_norms) return "the residual stream is what they return, so that more than linears reads it";
  return {};
}

constexpr std::string_view kNormFold = "norm to linears";

class FoldFinder {
 public:
  FoldFinder(const model::Family& family, const model::ModelConfig& config, int block)
      : config_(config), parts_(block_parts(family, config, block)) {}

  BlockFolds find(bool with_linears) && {
    add_norms();
    if (with_linears) {
      add_value();
      add_up();
    }
    return std::move(found_);
  }

 private:
  using Wanted = std::function<bool(const model::LinearShape&)>;

  std::vector<std::size_t> linears(const Wanted& wanted) const {
    std::vector<std::size_t> chosen;
    for (std::size_t i = 0; i < parts_.linears.size(); ++i) {
      if (wanted(parts_.linears[i])) chosen.push_back(i);
    }
    return chosen;
  }

  // The first linear in one of these roles, of an expert or of none; null if there is none.
  const model::LinearShape* linear(std::initializer_list<LinearRole> roles, int expert, std::size_t* index) const {
    const auto all = linears([&](const model::LinearShape& shape) {
      return shape.expert == expert && std::ranges::find(roles, shape.role) != roles.end();
    });
    if (all.empty()) return nullptr;
    *index = all.front();
    return &parts_.linears[all.front()];
  }

  void leave_out(std::string_view fold, const std::string& why) {
    const auto line = fmt::format("{}: {}", fold, why);
    if (std::ranges::find(found_.impossible, line) == found_.impossible.end()) found_.impossible.push_back(line);
  }

  void add_norms() {
    if (const auto why = bound_norms(config_); !why.empty()) return leave_out(kNormFold, why);
    if (config_.topology == Topology::parallel && norm(NormRole::mlp) == nullptr) {  // attention and MLP read the same
      return add_norm(NormRole::attention, {PlaceKind::attention, PlaceKind::mlp});
    }
    add_norm(NormRole::attention, {PlaceKind::attention});
    add_norm(NormRole::mlp, {PlaceKind::mlp});
  }

  const model::NormShape* norm(NormRole role) const {
    const auto found = std::ranges::find(parts_.norms, role, &model::NormShape::role);
    return found == parts_.norms.end() ? nullptr : &*found;
  }

  // kinds: of the places of all that read the norm.
  void add_norm(NormRole role, const std::vector<PlaceKind>& kinds) {
    const auto* feeder = norm(role);
    if (feeder == nullptr) return leave_out(kNormFold, "there is no norm with a weight before them");
    add({.kind = FoldKind::norm,
         .norm = role,
         .readers = linears([&](const model::LinearShape& shape) {
           return std::ranges::find(kinds, place_of(shape.role, -1).kind) != kinds.end();
         }),
         .place = {kinds.back()},
         .from = feeder->name,
         .to = {}});
  }

  void add(Fold fold) {
    for (const auto reader : fold.readers) fold.to.push_back(parts_.linears[reader].name);
    found_.folds.push_back(std::move(fold));
  }

  void add_value() {
    constexpr std::string_view kName = "value to attention output";
    if (config_.heads != config_.key_value_heads) {
      return leave_out(kName, fmt::format("{} query heads share {} key-value heads, and would need the same factors",
                                          config_.heads, config_.key_value_heads));
    }
    if (config_.query_key_value_clip > 0) return leave_out(kName, "values are clamped in between");
    add_linear(FoldKind::value, {LinearRole::value, LinearRole::query_key_value}, LinearRole::attention_output, -1);
  }

  void add_up() {
    std::vector<int> experts;
    for (const auto& shape : parts_.linears) {
      if (shape.role == LinearRole::down) experts.push_back(shape.expert);
    }
    for (const int expert : experts) {
      std::size_t index = 0;
      const bool gated = linear({LinearRole::gate, LinearRole::gate_up}, expert, &index) != nullptr;
      if (!gated && config_.activation != model::Activation::relu) {
        leave_out("up to down", "its activation lies in between, and is no ReLU");
        continue;
      }
      add_linear(FoldKind::up, {LinearRole::up, LinearRole::gate_up}, LinearRole::down, expert);
    }
  }

  void add_linear(FoldKind kind, std::initializer_list<LinearRole> from, LinearRole to, int expert) {
    std::size_t feeder = 0, reader = 0;
    const auto* shape = linear(from, expert, &feeder);
    if (shape == nullptr || linear({to}, expert, &reader) == nullptr) return;
    add({.kind = kind,
         .norm = NormRole::attention,
         .feeder = feeder,
         .readers = {reader},
         .place = model::place_of(to, expert),
         .from = shape->name,
         .to = {}});
  }

  const model::ModelConfig& config_;
  model::BlockParts parts_;
  BlockFolds found_;
};

}  // namespace

BlockFolds folds_of(const model::Family& family, const model::ModelConfig& config, int block, bool with_linears) {
  return FoldFinder(family, config, block).find(with_linears);
}

at::Tensor feeding_rows(LinearRole feeder, const model::ModelConfig& config, std::int64_t rows) {
  const auto all = [&] { return at::arange(rows, at::kLong); };
  if (feeder == LinearRole::gate_up) return all().narrow(0, rows / 2, rows - rows / 2);
  if (feeder != LinearRole::query_key_value) return {};
  const auto shared = config.key_value_heads, values = shared * config.head_size;
  if (config.query_key_value_order == model::RowOrder::parts) return all().narrow(0, rows - values, values);
  const auto heads = config.heads / shared + 2;  // of a group; the value comes last
  return all().view({shared, heads, config.head_size}).select(1, heads - 1).flatten();
}

}  // namespace normtweak::transform
