#include "normtweak/evaluate/drift.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "normtweak/base/error.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/evaluate/logits.h"
#include "normtweak/model/finite_outputs.h"
#include "normtweak/model/forward_pass.h"

namespace normtweak::evaluate {
namespace {

std::vector<double> list(const at::Tensor& values) {
  const auto on_host = values.to(at::kDouble).cpu().contiguous();
  const auto* first = on_host.const_data_ptr<double>();
  return {first, first + on_host.numel()};
}

double total(const at::Tensor& values) { return values.sum().item<double>(); }

Statistic over_channels(const at::Tensor& values) {
  Statistic statistic;
  statistic.add(values.cpu());
  return statistic;
}

void check_alike(const model::Decoder& model, const model::Decoder& reference) {
  if (model.blocks.size() == reference.blocks.size() && model.config.hidden == reference.config.hidden) return;
  fail("{} and {}: {} with hidden states of {}, and {} with those of {}; drift compares block with block", model.origin,
       reference.origin, counted(model.blocks.size(), "block"), model.config.hidden,
       counted(reference.blocks.size(), "block"), reference.config.hidden);
}

// Both models' outputs of each block for some rows.
void add_rows(const TaskModels& models, const at::Tensor& ids, std::vector<BlockDrift>& drifts) {
  const auto &ours = models.model, &theirs = *models.reference;
  const auto our_context = block_context(ours), their_context = block_context(theirs);
  auto our_hidden = embed(ours, ids), their_hidden = embed(theirs, ids);
  for (int i = 0; i < ours.blocks.size(); ++i) {
    our_hidden = forward(*ours.blocks.get(i), our_hidden, our_context);
    their_hidden = forward(*theirs.blocks.get(i), their_hidden, their_context);
    drifts[static_cast<std::size_t>(i)].add(our_hidden, their_hidden);
  }
  check_finite(total(their_hidden), theirs, "the reference", ids);
  check_finite(total(our_hidden), ours, "the model", ids);
}

class DriftTask : public Task {
 public:
  DriftTask(const TaskOrder& order, const TaskInput& input, ProgressSink& progress)
      : source_{"drift", order.text.path.filename().string()},
        windows_(read_windows(order.text, input.tokenizer, input.context_limit, progress)),
        with_channels_(order.channels) {}

  TaskResult run(const TaskModels& models, std::int64_t batch_rows, ProgressSink& progress) const override {
    const c10::NoGradGuard no_gradients;
    if (models.reference == nullptr) fail_usage("--drift: a --reference is needed, which the model is compared with");
    check_alike(models.model, *models.reference);
    const auto& batch = windows_.rows;
    Stage stage(progress, source_.task, batch.ids.numel(), "tokens");
    const auto step = batch_rows > 0 ? batch_rows : rows_in_pass(models.model, batch.tokens());
    std::vector<BlockDrift> drifts(static_cast<std::size_t>(models.model.blocks.size()));
    for (std::int64_t begin = 0; begin < batch.samples(); begin += step) {
      const auto part = rows(batch, begin, std::min(step, batch.samples() - begin));
      add_rows(models, part.ids.to(models.model.device), drifts);
      stage.advance(part.ids.numel());
    }
    TaskResult result;
    for (std::size_t i = 0; i < drifts.size(); ++i) {
      const auto figures = drifts[i].figures(source_, static_cast<int>(i));
      result.figures.insert(result.figures.end(), figures.begin(), figures.end());
      if (with_channels_) result.channels.push_back(drifts[i].channels());
    }
    return result;
  }

 private:
  FigureSource source_;
  Windows windows_;
  bool with_channels_;
};

}  // namespace

void BlockDrift::add(const at::Tensor& values, Sums& sums) {
  const auto sum = values.sum(0), squares = values.square().sum(0);
  sums.values = sums.values.defined() ? sums.values + sum : sum;
  sums.squares = sums.squares.defined() ? sums.squares + squares : squares;
}

void BlockDrift::add(const at::Tensor& ours, const at::Tensor& theirs) {
  const auto flat = [](const at::Tensor& hidden) { return hidden.flatten(0, 1).to(at::kDouble); };
  const auto model = flat(ours), reference = flat(theirs);  // [tokens, hidden]
  add(model, ours_);
  add(reference, theirs_);
  error_.add((model - reference).square().mean(-1).cpu());
  tokens_ += model.size(0);
}

BlockDrift::Moments BlockDrift::moments(const Sums& sums) const {
  const auto mean = sums.values / tokens_;
  return {mean, (sums.squares / tokens_ - mean.square()).clamp_min(0)};
}

ChannelDrift BlockDrift::channels() const {
  const auto model = moments(ours_), reference = moments(theirs_);
  return {.mean_shift = list(model.mean - reference.mean),
          .variance_shift = list(model.variance - reference.variance),
          .reference_mean = list(reference.mean),
          .reference_variance = list(reference.variance)};
}

std::vector<Figure> BlockDrift::figures(const FigureSource& source, int index) const {
  const auto model = moments(ours_), reference = moments(theirs_);
  std::vector<Figure> figures;
  const auto name = [&](std::string_view metric) { return fmt::format("block {} {}", index, metric); };
  const auto share = [&](std::string_view metric, double part, double whole, std::int64_t count) {
    figures.push_back(
        {source.task, source.text, name(metric), std::string(kModel), whole > 0 ? part / whole : 0, 0, count});
  };
  const auto shift = [&](const std::string& moment, const at::Tensor& ours, const at::Tensor& theirs) {
    const auto difference = ours - theirs;
    figures.push_back(mean_figure(source, name(moment + "_shift"), kModel, over_channels(difference)));
    figures.push_back(mean_figure(source, name(moment + "_distance"), kModel, over_channels(difference.abs())));
    share(moment + "_relative", total(difference.abs()), total(theirs.abs()), difference.numel());
  };
  shift("mean", model.mean, reference.mean);
  shift("variance", model.variance, reference.variance);
  figures.push_back(mean_figure(source, name("mse"), kModel, error_));
  share("mse_relative", error_.sum, total(theirs_.squares) / static_cast<double>(model.mean.numel()), error_.count);
  return figures;
}

std::unique_ptr<Task> drift_task(const TaskOrder& order, const TaskInput& input, ProgressSink& progress) {
  return std::make_unique<DriftTask>(order, input, progress);
}

}  // namespace normtweak::evaluate
