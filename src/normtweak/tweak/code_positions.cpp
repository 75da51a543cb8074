#include "normtweak/tweak/code_positions.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>

#include "normtweak/base/error.h"
#include "normtweak/tweak/code_positions_kernel.h"

namespace normtweak::tweak {
namespace {

// Fractions in [-1/2, 1/2] fill 16 bits.
constexpr double kFractionSteps = 2.0 * std::numeric_limits<std::int16_t>::max();
// F32 temporaries of a step per weight, and the share of the workspace that they may take.
constexpr std::int64_t kTemporaryBytes = 9 * 4, kWorkspaceShare = 16;

at::Tensor as_fractions(at::Tensor distance) { return distance.mul_(kFractionSteps).round_().to(at::kShort); }

// f32.
at::Tensor position_of(const CodeGrid& grid, const at::Tensor& codes, const at::Tensor& fractions) {
  return (fractions / kFractionSteps).add_(points_of(grid, codes));
}

at::Tensor host_copy(const at::Tensor& codes) {
  return codes.to(at::kCPU, at::kByte, /*non_blocking=*/false, /*copy=*/true);
}

// Square roots of the sums of squares along a dimension, without temporaries of the matrix's size.
at::Tensor root_of_squares(const at::Tensor& matrix, std::int64_t dimension) {
  return at::linalg_vector_norm(matrix, 2, dimension, /*keepdim=*/false, at::kFloat);
}

void decay(at::Tensor& mean, const at::Tensor& now, double beta) { mean.mul_(beta).add_(now, 1 - beta); }

at::Tensor mean_square(const at::Tensor& root, std::int64_t count) {
  return root.square().div_(static_cast<double>(count));
}

// Adds the gradients of the floats beside the codes, which follow from that of the dequantized weight.
void add_float_gradients(weights::Weight weight, const at::Tensor& gradient, const at::Tensor& dequantized) {
  const auto floats = weights::code_floats(weight);
  std::vector<bool> wanted;
  for (const auto& each : floats) wanted.push_back(each.values->requires_grad());
  if (std::ranges::none_of(wanted, std::identity())) return;
  const auto found = weights::code_float_gradients(weight, gradient, wanted, dequantized);
  for (std::size_t i = 0; i < floats.size(); ++i) {
    if (wanted[i]) floats[i].values->mutable_grad().add_(found[i]);
  }
}

}  // namespace

bool learns(const CodeOptions& options, std::string_view name) {
  return options.only.empty() ||
         std::ranges::any_of(options.only, [&](const auto& pattern) { return pattern.matches(name); });
}

std::int64_t position_bytes(const CodeOptions& options) {
  constexpr std::int64_t kCode = 1, kFraction = 2, kMomentum = 2;
  return kCode + kFraction + kMomentum + (options.decay > 0 ? kCode + kFraction : 0);
}

PositionState start_positions(const at::Tensor& codes, const at::Tensor& distance, CodeGrid grid, bool keeps_start) {
  PositionState state = {.grid = std::move(grid),
                         .codes = codes.clone(),
                         .fractions = as_fractions(distance.clone()),
                         .momentum = at::zeros_like(codes, codes.options().dtype(at::kBFloat16)),
                         .rows = at::zeros({codes.size(0)}, distance.options()),
                         .columns = at::zeros({codes.size(1)}, distance.options())};
  if (!keeps_start) return state;
  state.first_codes = codes;
  state.first_fractions = state.fractions.clone();
  return state;
}

PositionStep position_step(std::int64_t number, double rate, const CodeOptions& options, c10::Device device) {
  const auto t = static_cast<double>(number);
  const std::array factors = {rate / (1 - std::pow(options.beta1, t)), 1 / (1 - std::pow(options.beta2, t)),
                              rate * options.decay};
  return {.beta1 = options.beta1,
          .beta2 = options.beta2,
          .decays = options.decay > 0,
          .factors = at::tensor(factors, at::kFloat).to(device)};
}

void move_positions(PositionState& state, const at::Tensor& gradient, const PositionStep& step, at::Tensor& finite,
                    std::int64_t workspace) {
  const auto out = gradient.size(0), in = gradient.size(1);
  const auto of_rows = root_of_squares(gradient, 1), of_columns = root_of_squares(gradient, 0);
  if (has_position_kernels(state, gradient)) {
    return move_positions_on_gpu(state, gradient, of_rows, of_columns, step, finite);
  }
  const auto momentum_factor = step.factors[0], square_factor = step.factors[1], decay_factor = step.factors[2];
  const auto rows = mean_square(of_rows, in);
  finite.logical_and_(rows.sum().isfinite());
  decay(state.rows, rows, step.beta2);
  decay(state.columns, mean_square(of_columns, out), step.beta2);
  constexpr double kTiny = 1e-30;  // so that weights which no token reached stay
  const auto over_columns = (state.columns * square_factor).clamp_min_(kTiny).rsqrt_();
  const auto over_rows = (state.rows / state.rows.mean().clamp_min_(kTiny)).clamp_min_(kTiny).rsqrt_().unsqueeze(1);
  const double last = state.grid.points - 1;
  const auto some = std::clamp<std::int64_t>(workspace / kWorkspaceShare / (kTemporaryBytes * in), 1, out);
  for (std::int64_t begin = 0; begin < out; begin += some) {
    const auto chunk = [&](const at::Tensor& all) { return all.narrow(0, begin, std::min(some, out - begin)); };
    auto momentum = chunk(state.momentum).to(at::kFloat);
    momentum.mul_(step.beta1).add_(chunk(gradient), 1 - step.beta1);
    chunk(state.momentum).copy_(momentum);
    const auto change = momentum.mul_(over_columns).mul_(chunk(over_rows)).mul_(momentum_factor).neg_();
    auto position = position_of(state.grid, chunk(state.codes), chunk(state.fractions));
    if (step.decays) {
      const auto moved = position - position_of(state.grid, chunk(state.first_codes), chunk(state.first_fractions));
      change.sub_(moved.mul(decay_factor));
    }
    position.add_(at::where(finite, change, 0.0)).clamp_(-0.5, last + 0.5);
    const auto points = position.round().clamp_(0, last);
    chunk(state.codes).copy_(codes_at(state.grid, points));
    chunk(state.fractions).copy_(as_fractions(position.sub_(points)));
  }
}

CodePositions::CodePositions(const model::Decoder& student, const model::Decoder& floats, const CodeOptions& options)
    : student_(student), floats_(floats), options_(options) {
  start_over();
  if (std::ranges::all_of(blocks_, [](const auto& block) { return block.empty(); })) {
    fail("the model has no codes to learn: no linear that is to learn has affine codes or those of a block type");
  }
}

void CodePositions::start_over() {
  const c10::NoGradGuard no_gradients;
  blocks_.clear();
  steps_ = 0;
  finite_ = at::ones({}, at::TensorOptions(at::kBool).device(student_.device));
  for (int index = 0; index < student_.blocks.size(); ++index) {
    const auto quantized = student_.blocks.get(index), exact = floats_.blocks.get(index);
    auto& learned = blocks_.emplace_back();
    for (std::size_t part = 0; part < quantized->linears.size(); ++part) {
      const auto& linear = quantized->linears[part].linear;
      const auto& weight = linear.weight;
      if (!has_code_grid(weight) || !learns(options_, linear.name)) continue;
      const auto& values = std::get<weights::FloatWeight>(exact->linears[part].linear.weight).values;
      const auto distance = distance_from_codes(weight, values).clamp_(-options_.most_start, options_.most_start);
      learned.push_back(
          {.part = part, .state = start_positions(codes_of(weight), distance, code_grid(weight), options_.decay > 0)});
    }
  }
}

model::Block CodePositions::with_codes(model::Block block, bool frozen) const {
  for (const auto& learned : blocks_[static_cast<std::size_t>(block.index)]) {
    auto& codes = codes_of(block.linears[learned.part].linear.weight);
    codes = frozen ? learned.state.codes.clone() : learned.state.codes;
  }
  return block;
}

model::Block CodePositions::dequantized(model::Block block, Leaves& leaves) const {
  block = with_codes(std::move(block), /*frozen=*/false);
  for (const auto& learned : blocks_[static_cast<std::size_t>(block.index)]) {
    auto& weight = block.linears[learned.part].linear.weight;
    const c10::NoGradGuard no_gradients;
    leaves.weights.push_back(weight);
    leaves.values.push_back(dequantize_for_gradients(weight, student_.type).requires_grad_());
    weight = weights::FloatWeight{leaves.values.back()};
  }
  return block;
}

void CodePositions::collect(int block, Leaves leaves) {
  const c10::NoGradGuard no_gradients;
  auto& of_block = blocks_[static_cast<std::size_t>(block)];
  for (std::size_t i = 0; i < of_block.size(); ++i) {
    auto& gradient = of_block[i].gradient;
    const auto found = leaves.values[i].grad();
    if (!found.defined()) continue;  // no token reached this expert
    add_float_gradients(leaves.weights[i], found, leaves.values[i].detach());
    leaves.values[i] = at::Tensor();
    const auto of_positions = toward_codes(leaves.weights[i], found);
    // Several parts of a step are added up in F32.
    gradient = gradient.defined() ? gradient.to(at::kFloat).add_(of_positions) : of_positions;
  }
}

void CodePositions::drop_collected() {
  for (auto& block : blocks_) {
    for (auto& learned : block) learned.gradient = at::Tensor();
  }
}

void CodePositions::begin_step(double factor) {
  auto next = position_step(++steps_, options_.rate * factor, options_, student_.device);
  if (step_.factors.defined()) next.factors = step_.factors.copy_(next.factors);  // which recorded work reads
  step_ = std::move(next);
}

void CodePositions::step(int block, const Processes& processes) {
  const c10::NoGradGuard no_gradients;
  for (auto& learned : blocks_[static_cast<std::size_t>(block)]) {
    auto gradient = std::exchange(learned.gradient, {});
    if (!gradient.defined())
      gradient = at::zeros_like(learned.state.codes, student_.embedding.options().dtype(at::kFloat));
    if (processes.size() > 1) {
      gradient = gradient.to(at::kFloat);
      processes.all_reduce_sum({gradient});
    }
    move_positions(learned.state, gradient, step_, finite_, student_.workspace);
  }
}

bool CodePositions::finite_gradients() const { return finite_.item<bool>(); }

std::vector<at::Tensor> CodePositions::codes() const {
  std::vector<at::Tensor> all;
  for (const auto& block : blocks_) {
    for (const auto& learned : block) all.push_back(host_copy(learned.state.codes));
  }
  return all;
}

std::vector<at::Tensor> CodePositions::start_codes() const {
  std::vector<at::Tensor> all;
  for (std::size_t index = 0; index < blocks_.size(); ++index) {
    const auto block = student_.blocks.get(static_cast<int>(index));
    for (const auto& learned : blocks_[index]) {
      const auto& codes = codes_of(block->linears[learned.part].linear.weight);
      all.push_back(student_.blocks.all_on_device() ? codes : host_copy(codes));
    }
  }
  return all;
}

void CodePositions::set_codes(const std::vector<at::Tensor>& codes) {
  const c10::NoGradGuard no_gradients;
  auto next = codes.begin();
  for (auto& block : blocks_) {
    for (auto& learned : block) learned.state.codes.copy_(*next++);
  }
}

}  // namespace normtweak::tweak
