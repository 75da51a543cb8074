#include "normtweak/tweak/end_to_end.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Generator.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <optional>

#include "normtweak/base/error.h"
#include "normtweak/tweak/adam.h"
#include "normtweak/tweak/student.h"

namespace normtweak::tweak {
namespace {

using State = std::vector<at::Tensor>;  // the change of every tunable

// Activations kept for one pass forward and backward, at most; more rows are taken in parts.
constexpr std::int64_t kActivationBytesCpu = std::int64_t{3} << 30, kActivationBytesGpu = std::int64_t{40} << 30;

// Rows with the float model's last hidden states, which are computed once and kept in host memory.
struct TaughtRows {
  calibrate::TokenBatch text;
  at::Tensor teacher_hidden;  // [rows, tokens, hidden] on the CPU

  DistillationBatch pick(const at::Tensor& rows, c10::Device device) const {
    const auto picked = [&](const at::Tensor& all) {
      return all.defined() ? all.index_select(0, rows).to(device) : all;
    };
    return {picked(text.ids), picked(text.mask), picked(teacher_hidden)};
  }
  double counted_tokens() const {
    return text.mask.defined() ? text.mask.sum().item<double>() : static_cast<double>(text.ids.numel());
  }
  double counted_tokens(const at::Tensor& rows) const {
    return text.mask.defined() ? text.mask.index_select(0, rows).sum().item<double>()
                               : static_cast<double>(rows.numel() * text.tokens());
  }
};

TaughtRows teach(const model::Decoder& teacher, const calibrate::TokenBatch& text, Stage& stage) {
  const c10::NoGradGuard no_gradients;
  const std::int64_t step = std::max<std::int64_t>(1, (teacher.device.is_cuda() ? 32768 : 1024) / text.tokens());
  std::vector<at::Tensor> parts;
  for (std::int64_t begin = 0; begin < text.samples(); begin += step) {
    const auto part = rows(text, begin, std::min(step, text.samples() - begin));
    parts.push_back(last_hidden_state(teacher, part.ids.to(teacher.device)).cpu());
    stage.advance(part.ids.numel());
  }
  return {text, at::cat(parts)};
}

// Bytes that one row's activations take when they are kept for the way back: what autograd saves of the norms,
// attention, MLP and residuals, in the type of products or F32. An estimate; it decides only how rows are grouped.
std::int64_t activation_bytes_per_row(const model::Decoder& decoder, std::int64_t tokens) {
  const auto& config = decoder.config;
  const auto element = static_cast<std::int64_t>(c10::elementSize(decoder.type));
  const auto per_token = config.hidden * (8 * element + 6 * 4) + config.intermediate * 6 * element;
  return config.layers * tokens * per_token;
}

class Run {
 public:
  Run(const model::Decoder& student, TaughtRows train, TaughtRows select, const EndToEndOptions& options)
      : device_(student.device),
        student_(student, options.groups),
        train_(std::move(train)),
        select_(std::move(select)),
        options_(options),
        adam_(parameter_groups(), {options.beta1, options.beta2}),
        generator_(at::globalContext().defaultGenerator(at::kCPU).clone()) {
    generator_.set_current_seed(options.seed);
    const auto limit = device_.is_cuda() ? kActivationBytesGpu : kActivationBytesCpu;
    const auto row_bytes = activation_bytes_per_row(student, train_.text.tokens());
    keep_activations_ = row_bytes <= limit;
    part_rows_ = keep_activations_ ? std::clamp<std::int64_t>(limit / row_bytes, 1, options.batch_rows) : 1;
  }

  EndToEndResult train(ProgressSink& progress) {
    EndToEndResult result;
    best_divergence_ = selection_divergence();
    result.candidates.push_back({"untouched", best_divergence_});
    best_ = state();
    const auto batches = (train_.text.samples() + options_.batch_rows - 1) / options_.batch_rows;
    const auto steps = batches * options_.passes;
    const auto interval = std::max<std::int64_t>(1, steps / std::max<std::int64_t>(1, options_.checks));
    Stage stage(progress, "tweak end to end",
                steps * std::min(options_.batch_rows, train_.text.samples()) * train_.text.tokens(), "tokens");
    for (std::int64_t step = 0; step < steps; ++step) {
      if (step % batches == 0) shuffle();
      const auto chosen =
          order_.narrow(0, step % batches * options_.batch_rows,
                        std::min(options_.batch_rows, order_.size(0) - step % batches * options_.batch_rows));
      const double before = stage.seconds();
      const double divergence = take_step(chosen, rate_factor(step, steps));
      result.seconds += stage.seconds() - before;
      ++result.steps;
      result.tokens += chosen.size(0) * train_.text.tokens();
      stage.advance(chosen.size(0) * train_.text.tokens(), fmt::format("KL {:.4f}", divergence));
      if (!std::isfinite(divergence)) {
        result.stopped_early =
            fmt::format("the loss was not finite at step {}; the best state before it counts", step + 1);
        break;
      }
      if ((step + 1) % interval == 0 && step + 1 < steps) keep_if_better(selection_divergence());
    }
    choose(result);
    result.decoder = student_.decoder();
    return result;
  }

 private:
  std::vector<AdamGroup> parameter_groups() {
    AdamGroup norms = {.parameters = {}, .rate = options_.norm_rate},
              scales = {.parameters = {}, .rate = options_.scale_rate};
    for (const auto* tunable : student_.tunables()) {
      (is_norm(*tunable) ? norms : scales).parameters.push_back(tunable->change);
    }
    return {norms, scales};
  }

  static bool is_norm(const Tunable& tunable) {
    return tunable.group == TunableGroup::norms || tunable.group == TunableGroup::biases;
  }

  State state() {
    State all;
    for (const auto* tunable : student_.tunables()) all.push_back(tunable->change.detach().clone());
    return all;
  }

  void set_state(const State& all) {
    const c10::NoGradGuard no_gradients;
    const auto tunables = student_.tunables();
    for (std::size_t i = 0; i < all.size(); ++i) tunables[i]->change.copy_(all[i]);
  }

  void shuffle() { order_ = at::randperm(train_.text.samples(), generator_, at::TensorOptions(at::kLong)); }

  double rate_factor(std::int64_t step, std::int64_t steps) const {
    const double warmup = std::min(
        1.0, static_cast<double>(step + 1) / static_cast<double>(std::max<std::int64_t>(1, options_.warmup_steps)));
    return warmup * 0.5 * (1 + std::cos(std::numbers::pi * static_cast<double>(step) / static_cast<double>(steps)));
  }

  // Mean divergence of the batch, in nats per token.
  double take_step(const at::Tensor& chosen, double factor) {
    adam_.clear_gradients();
    const double tokens = train_.counted_tokens(chosen);
    double sum = 0;
    for (std::int64_t begin = 0; begin < chosen.size(0); begin += part_rows_) {
      const auto part = chosen.narrow(0, begin, std::min(part_rows_, chosen.size(0) - begin));
      sum += student_.backward(train_.pick(part, device_), 1 / tokens, keep_activations_).sum().item<double>();
    }
    if (std::isfinite(sum)) adam_.step(factor);
    return sum / tokens;
  }

  double selection_divergence() {
    double sum = 0;
    const auto all = at::arange(select_.text.samples(), at::TensorOptions(at::kLong));
    for (const auto& part : all.split(std::max<std::int64_t>(1, part_rows_))) {
      sum += student_.divergence(select_.pick(part, device_)).sum().item<double>();
    }
    return sum / select_.counted_tokens();
  }

  void keep_if_better(double divergence) {
    if (!(divergence < best_divergence_)) return;
    best_divergence_ = divergence;
    best_ = state();
  }

  // Scores the end, the best state on the way, points before the best one, and the best one with a group reverted.
  void choose(EndToEndResult& result) {
    const auto untouched = best_divergence_of(result);
    const auto last = state();
    const auto on_the_way = best_;
    result.chosen = "untouched";
    best_ = scaled(last, 0, false, false);  // zero even where the last state is not finite
    best_divergence_ = untouched;
    consider(result, "last", last);
    consider(result, "best on the way", on_the_way);
    const auto leader = best_;
    for (const double share : {0.8, 0.6, 0.3}) {
      consider(result, fmt::format("{} of the way", share), scaled(leader, share, true, true));
    }
    if (options_.groups.size() > 1) {
      consider(result, "norms only", scaled(leader, 1, true, false));
      consider(result, "scales only", scaled(leader, 1, false, true));
    }
    set_state(best_);
  }

  static double best_divergence_of(const EndToEndResult& result) { return result.candidates.front().divergence; }

  void consider(EndToEndResult& result, const std::string& name, const State& candidate) {
    set_state(candidate);
    const double divergence = selection_divergence();
    result.candidates.push_back({name, divergence});
    if (!(divergence < best_divergence_)) return;
    best_divergence_ = divergence;
    best_ = candidate;
    result.chosen = name;
  }

  State scaled(const State& from, double share, bool norms, bool scales) {
    State all;
    const auto tunables = student_.tunables();
    for (std::size_t i = 0; i < from.size(); ++i) {
      const bool kept = is_norm(*tunables[i]) ? norms : scales;
      all.push_back(kept ? from[i].mul(share) : at::zeros_like(from[i]));
    }
    return all;
  }

  c10::Device device_;
  Student student_;
  TaughtRows train_, select_;
  EndToEndOptions options_;
  Adam adam_;
  at::Generator generator_;
  bool keep_activations_ = true;
  std::int64_t part_rows_ = 1;  // rows whose activations are kept at the same time
  at::Tensor order_;            // of the rows in this pass
  State best_;
  double best_divergence_ = std::numeric_limits<double>::infinity();
};

}  // namespace

EndToEndResult tweak_end_to_end(const model::Decoder& teacher, const model::Decoder& student, const TextSplit& text,
                                const EndToEndOptions& options, ProgressSink& progress) {
  std::optional<Stage> stage(std::in_place, progress, "float model", text.train.ids.numel() + text.select.ids.numel(),
                             "tokens");
  auto train = teach(teacher, text.train, *stage);
  auto select = teach(teacher, text.select, *stage);
  stage.reset();
  Run run(student, std::move(train), std::move(select), options);
  return run.train(progress);
}

}  // namespace normtweak::tweak
