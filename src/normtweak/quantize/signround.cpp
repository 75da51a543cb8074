#include "normtweak/quantize/signround.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "normtweak/base/device/generator.h"
#include "normtweak/base/error.h"
#include "normtweak/quantize/checks.h"

namespace normtweak::quantize {
namespace {

constexpr std::int64_t kBatchRows = 8;  // of the paper
constexpr double kLeastShare = 0.5;     // of a group's range

double top_code(const AffineOptions& options) { return std::exp2(options.bits) - 1; }

// Of some rows, f64 []: the weighted sum of squared errors, and of the weights.
struct Loss {
  at::Tensor errors, weights;
};

Loss loss_of(const at::Tensor& output, const BlockText& text, const at::Tensor& rows) {
  auto errors = (output - text.targets.index_select(0, rows)).square().sum(-1);
  if (!text.weights.defined()) return {errors.sum(at::kDouble), at::ones_like(errors).sum(at::kDouble)};
  const auto weights = text.weights.index_select(0, rows).to(errors.device(), at::kFloat);
  errors = at::where(weights > 0, errors * weights, 0.0);  // padding may hold any values
  return {errors.sum(at::kDouble), weights.sum(at::kDouble)};
}

// A linear of the block.
struct Learner {
  std::size_t part = 0;
  LearnedRounding rounding;
  std::int64_t iterations = 0;
  double rate = 0;
  at::Tensor values = {};  // dequantized, a leaf
};

class BlockRounding {
 public:
  BlockRounding(const model::Block& exact, const model::Block& rounded,
                const std::vector<std::optional<LinearPlan>>& plans, const BlockText& text,
                const model::BlockContext& context, const Processes& processes)
      : rounded_(rounded),
        text_(text),
        context_(context),
        processes_(processes),
        generator_(make_generator(at::kCPU, static_cast<std::uint64_t>(exact.index))) {
    for (std::size_t part = 0; part < plans.size(); ++part) {
      if (!plans[part]) continue;
      const auto& plan = *plans[part];
      const auto& values = std::get<weights::FloatWeight>(exact.linears[part].linear.weight).values;
      const auto rate = plan.signround_rate > 0 ? plan.signround_rate : 1.0 / plan.signround_iterations;
      learners_.push_back({part, LearnedRounding(values, affine_options(plan)), plan.signround_iterations, rate});
    }
  }

  void train() {
    std::int64_t iterations = 0;
    for (const auto& learner : learners_) iterations = std::max(iterations, learner.iterations);
    double least = std::numeric_limits<double>::infinity();
    for (std::int64_t iteration = 0; iteration < iterations; ++iteration) {
      const double loss = pass(drawn_rows());
      if (loss < least) {
        least = loss;
        for (auto& learner : learners_) learner.rounding.keep();
      }
      for (auto& learner : learners_) {
        const double left = 1 - static_cast<double>(iteration) / static_cast<double>(learner.iterations);
        auto gradient = learner.values.grad();
        if (!gradient.defined()) gradient = at::zeros_like(learner.values);  // an expert that no token reached
        processes_.all_reduce_sum({gradient});
        if (left > 0) learner.rounding.step(gradient, learner.rate * left);
      }
    }
    for (auto& learner : learners_) learner.rounding.take_best();
  }

  model::Block block() const {
    auto learned = rounded_;
    for (const auto& learner : learners_) learned.linears[learner.part].linear.weight = learner.rounding.weight();
    return learned;
  }

  // Over all rows, of all processes.
  double mean_loss(const model::Block& block) const {
    const c10::NoGradGuard no_gradients;
    const auto all = at::arange(text_.inputs.size(0), at::TensorOptions(at::kLong).device(text_.inputs.device()));
    return mean(all, [&](const at::Tensor& rows) {
      return loss_of(forward(block, text_.inputs.index_select(0, rows), context_), text_, rows);
    });
  }

 private:
  // This process's part of the rows of an iteration.
  at::Tensor drawn_rows() {
    const auto order = at::randperm(text_.inputs.size(0), generator_, at::TensorOptions(at::kLong));
    const auto count = processes_.share(kBatchRows).count;
    return order.narrow(0, 0, std::min(count, order.size(0))).to(text_.inputs.device());
  }

  // The loss of `rows`; leaves get its gradient, times the number of tokens.
  double pass(const at::Tensor& rows) {
    auto learning = rounded_;
    for (auto& learner : learners_) {
      learner.values = weights::dequantize(learner.rounding.weight(), context_.type).requires_grad_();
      learning.linears[learner.part].linear.weight = weights::FloatWeight{learner.values};
    }
    const double loss = mean(rows, [&](const at::Tensor& some) {
      const at::AutoGradMode with_gradients(true);
      const auto found = loss_of(forward(learning, text_.inputs.index_select(0, some), context_), text_, some);
      torch::autograd::backward({found.errors}, {at::ones_like(found.errors)});
      return found;
    });
    if (!std::isfinite(loss)) fail("the loss of signround is not finite");
    return loss;
  }

  // loss: of as many rows as fit one pass.
  template <class LossOfRows>
  double mean(const at::Tensor& rows, const LossOfRows& loss) const {
    const auto options = at::TensorOptions(at::kDouble).device(rows.device());
    const auto errors = at::zeros({}, options), weights = at::zeros({}, options);
    for (std::int64_t begin = 0; begin < rows.size(0); begin += text_.rows_at_a_time) {
      const auto found = loss(rows.narrow(0, begin, std::min(text_.rows_at_a_time, rows.size(0) - begin)));
      errors.add_(found.errors.detach());
      weights.add_(found.weights);
    }
    processes_.all_reduce_sum({errors, weights});
    return errors.item<double>() / weights.item<double>();
  }

  const model::Block& rounded_;
  const BlockText& text_;
  const model::BlockContext& context_;
  const Processes& processes_;
  at::Generator generator_;
  std::vector<Learner> learners_;
};

}  // namespace

LearnedRounding::LearnedRounding(const at::Tensor& weight, const AffineOptions& options) : options_(options) {
  const auto out = weight.size(0), in = weight.size(1), columns = resolve_group_size(options.group_size, in);
  groups_ = weight.to(at::kFloat).contiguous().view({out, in / columns, columns});
  const auto all = at::ones_like(groups_.select(-1, 0));
  state_ = {at::zeros_like(groups_), all, all.clone()};
  keep();
}

Grid LearnedRounding::grid() const { return range_grid(groups_, options_, {state_.low, state_.high}); }

weights::AffineWeight LearnedRounding::weight() const {
  const auto found = grid();
  const auto out = groups_.size(0);
  auto codes = groups_ / found.scales.unsqueeze(-1);
  codes.add_(found.zeros.unsqueeze(-1)).add_(state_.offsets).round_().clamp_(0, top_code(options_));
  return affine_weight(codes.view({out, -1}), found, options_);
}

// With q the rounded sum before it is clamped, and `inside` where clamping leaves it:
//     ∂W/∂V = s inside,   ∂W/∂s = code - z - inside W/s,   ∂W/∂z = -s (1 - inside)
// and s = (α high - β low) / top, z = -β low / s. Only signs count, so that positive factors are left out.
void LearnedRounding::step(const at::Tensor& gradient, double rate) {
  const c10::NoGradGuard no_gradients;
  const auto [scales, zeros] = grid();
  const auto top = top_code(options_);
  const auto g = gradient.to(at::kFloat).view(groups_.sizes());
  const auto in_steps = groups_ / scales.unsqueeze(-1);
  const auto sums = (in_steps + zeros.unsqueeze(-1)).add_(state_.offsets).round_();
  const auto inside = sums.ge(0).logical_and_(sums.le(top));
  const auto of_offsets = at::where(inside, g, 0.0);
  const auto steps = sums.clamp(0, top).sub_(zeros.unsqueeze(-1)).sub_(at::where(inside, in_steps, 0.0));
  const auto of_scales = (g * steps).sum(-1), of_zeros = (of_offsets - g).sum(-1) * scales;
  state_.offsets.sub_(of_offsets.sign(), rate).clamp_(-0.5, 0.5);
  const auto move = [&](at::Tensor& share, const at::Tensor& of_share) {
    share.sub_(of_share.sign(), rate).clamp_(kLeastShare, 1);
  };
  if (options_.symmetric) return move(state_.high, of_scales);
  const auto range = range_of_groups(groups_);
  // z before it is rounded is what depends on s.
  const auto through_scales = of_scales + of_zeros * range.low * state_.low / scales.square();
  move(state_.high, through_scales * range.high);
  move(state_.low, -(through_scales + of_zeros * top / scales) * range.low);
}

void LearnedRounding::keep() { best_ = {state_.offsets.clone(), state_.low.clone(), state_.high.clone()}; }

void LearnedRounding::take_best() { state_ = best_; }

model::Block sign_round(const model::Block& exact, const model::Block& rounded,
                        const std::vector<std::optional<LinearPlan>>& plans, const BlockText& text,
                        const model::BlockContext& context, const Processes& processes, SignRoundReport* report) {
  BlockRounding run(exact, rounded, plans, text, context, processes);
  run.train();
  auto learned = run.block();
  const double before = run.mean_loss(rounded), after = run.mean_loss(learned);
  const bool better = after < before;
  if (report != nullptr) *report = {before, better ? after : before};
  return better ? learned : rounded;
}

}  // namespace normtweak::quantize
