#include "normtweak/transform/awq_block.h"

#include <ATen/TensorOperators.h>

#include "normtweak/transform/awq.h"
#include "normtweak/transform/clipping.h"
#include "normtweak/transform/fold.h"

namespace normtweak::transform {
namespace {

using Inputs = BlockCalibration::Inputs;

// Null: no token reached this place.
const InputStatistics* find_inputs(const Inputs& inputs, const model::Place& place) {
  const auto found = inputs.find(place);
  return found == inputs.end() || found->second.total_weight == 0 ? nullptr : &found->second;
}

// One kind of place after the other, so that only its statistics are in memory. From the last on, since a fold changes
// rows of the linears before it, whose groups are clipped with these changes.
class AwqRun {
 public:
  AwqRun(const BlockToTransform& what, const BlockCalibration& calibration, bool clips_groups)
      : what_(what),
        calibration_(calibration),
        clips_groups_(clips_groups),
        folded_(what.block),
        alphas_(what.folds.size()) {}

  Transformed run() && {
    for (auto kind = model::kPlaceKinds; kind-- > 0;) work_at(static_cast<model::PlaceKind>(kind));
    auto target = folded_;
    for (auto& [linear, values] : clipped_) target.linears[linear].linear.weight = weights::FloatWeight{values};
    BlockReport report = {.folds = {}, .clipped = static_cast<std::int64_t>(clipped_.size())};
    for (std::size_t i = 0; i < alphas_.size(); ++i) {
      if (alphas_[i]) report.folds.push_back({what_.folds[i].from, what_.folds[i].to, *alphas_[i]});
    }
    return {std::move(folded_), std::move(target), std::move(report)};
  }

 private:
  bool is_clipped(const model::BlockLinear& part) const {
    const auto plan = clips_groups_ ? plan_of(part, what_.plan) : std::nullopt;
    return plan && clips(part.role, *plan);
  }

  void work_at(model::PlaceKind kind) {
    std::vector<std::size_t> folds, clipped;
    for (std::size_t i = 0; i < what_.folds.size(); ++i) {
      if (what_.folds[i].place.kind == kind) folds.push_back(i);
    }
    for (std::size_t i = 0; i < what_.block.linears.size(); ++i) {
      const auto& part = what_.block.linears[i];
      if (part.place().kind == kind && is_clipped(part)) clipped.push_back(i);
    }
    if (folds.empty() && clipped.empty()) return;
    const auto inputs = calibration_.inputs(kind, true);
    for (const auto fold : folds) alphas_[fold] = scale(what_.folds[fold], inputs);
    for (const auto linear : clipped) clip_groups(linear, inputs);
  }

  // Returns α; nullopt: no token reached the place, so that nothing is scaled.
  std::optional<double> scale(const Fold& fold, const Inputs& inputs) {
    const auto* all = find_inputs(inputs, fold.place);
    if (all == nullptr) return std::nullopt;
    std::vector<ScaledReader> readers;
    for (const auto reader : fold.readers) {
      const auto& part = what_.block.linears[reader];
      const auto* own = part.expert < 0 ? all : find_inputs(inputs, part.place());
      const auto plan = plan_of(part, what_.plan);
      if (plan && own != nullptr) readers.push_back({values_of(part), *plan, own->hessian, own->total_weight});
    }
    const auto choice = search_scales(all->mean_absolute, readers);
    const auto factors = divide_feeder(fold, choice.scales, what_.config, what_.stored, folded_);
    for (const auto reader : fold.readers) {
      multiply_columns(factors, folded_.linears[reader].linear);
      factors_[reader] = factors;
    }
    return choice.alpha;
  }

  void clip_groups(std::size_t linear, const Inputs& inputs) {
    const auto& part = folded_.linears[linear];
    const auto* seen = find_inputs(inputs, part.place());
    if (seen == nullptr) return;
    auto hessian = seen->hessian;
    if (const auto found = factors_.find(linear); found != factors_.end()) {
      hessian = hessian / found->second / found->second.unsqueeze(1);
    }
    clipped_[linear] = clip(values_of(part), hessian, *plan_of(part, what_.plan));
  }

  const BlockToTransform& what_;
  const BlockCalibration& calibration_;
  bool clips_groups_;
  model::Block folded_;
  std::map<std::size_t, at::Tensor> factors_, clipped_;  // by linear
  std::vector<std::optional<double>> alphas_;            // by fold
};

}  // namespace

Transformed awq(const BlockToTransform& what, const BlockCalibration& calibration, const TransformOptions& options) {
  return AwqRun(what, calibration, options.clip).run();
}

}  // namespace normtweak::transform
