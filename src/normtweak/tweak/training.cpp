#include "normtweak/tweak/training.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>
#include <vector>

#include "normtweak/base/device/generator.h"
#include "normtweak/base/device/memory.h"
#include "normtweak/base/error.h"

namespace normtweak::tweak {
namespace {

double rate_of(TunableGroup group, const LearningRates& rates) {
  switch (group) {
    case TunableGroup::norms:
    case TunableGroup::router_norms:
    case TunableGroup::biases:
      return rates.norms;
    case TunableGroup::scales:
    case TunableGroup::codebooks:
      return rates.scales;
    case TunableGroup::zeros:
      return rates.zeros;
  }
  return 0;
}

std::vector<double> rates_of(const TunableSet& set, const LearningRates& rates) {
  std::vector<double> all;
  for (const auto& group : set.groups()) all.push_back(rate_of(group.group, rates));
  return all;
}

// A process with an empty share has none.
std::vector<at::Tensor> parts(const at::Tensor& rows, std::int64_t rows_at_a_time) {
  return rows.numel() == 0 ? std::vector<at::Tensor>{} : rows.split(rows_at_a_time);
}

}  // namespace

double rate_share(std::int64_t step, const TrainingOptions& options) {
  const auto at = static_cast<double>(step);
  const double warmup = std::min(1.0, (at + 1) / static_cast<double>(std::max<std::int64_t>(1, options.warmup_steps)));
  return warmup * 0.5 * (1 + std::cos(std::numbers::pi * at / static_cast<double>(options.steps)));
}

Training::Training(Student& student, const TeacherStates& rows, const TrainingOptions& options, const PassSize& pass,
                   Processes processes)
    : student_(student),
      rows_(rows),
      options_(options),
      pass_(pass),
      processes_(std::move(processes)),
      adam_(student.tunables(), rates_of(student.tunables(), options.rates),
            {.beta1 = options.beta1, .beta2 = options.beta2}),
      generator_(make_generator(at::kCPU, options.seed)) {}

at::Tensor Training::next_rows() {
  const auto batches = (rows_.rows() + options_.batch_rows - 1) / options_.batch_rows;
  if (step_ % batches == 0) order_ = at::randperm(rows_.rows(), generator_, at::TensorOptions(at::kLong));
  const auto begin = step_ % batches * options_.batch_rows;
  return order_.narrow(0, begin, std::min(options_.batch_rows, rows_.rows() - begin));
}

at::Tensor Training::backward(const at::Tensor& rows, double scale) {
  const auto device = student_.device();
  auto* codes = student_.codes();
  if (codes != nullptr) codes->begin_step(rate_share(step_, options_));
  if (may_record(rows)) {
    auto batch = rows_.pick(rows, device);
    auto* recorded = recorded_pass(batch, scale);
    if (recorded == nullptr) return backward({&batch, 1}, scale);
    recorded->work.run();
    return recorded->sum;
  }
  auto sum = at::zeros({}, at::TensorOptions(at::kDouble).device(device));
  std::vector<DistillationBatch> batches;
  for (const auto& part : parts(rows, pass_.rows)) {
    auto batch = rows_.pick(part, device);
    if (codes != nullptr) {
      batches.push_back(std::move(batch));
    } else {
      sum += backward({&batch, 1}, scale);
    }
  }
  // Each block's codes move once all parts have passed it, so that no other gradient of codes exists.
  return codes == nullptr ? sum : sum.add_(backward(batches, scale));
}

at::Tensor Training::backward(std::span<const DistillationBatch> together, double scale) {
  Student::BlockDone move;
  if (auto* codes = student_.codes()) move = [this, codes](int block) { codes->step(block, processes_); };
  return student_.backward(together, scale, pass_.keep_activations && together.size() == 1, move).sum();
}

bool Training::may_record(const at::Tensor& rows) const {
  return options_.records && processes_.size() == 1 && rows.size(0) <= pass_.rows && student_.is_recordable() &&
         !rows_.has_padding() && can_record_work(student_.device());
}

// With the rows of `batch`; null if these are to pass unrecorded. A pass of so many rows has to run before it is
// recorded, and then what was recorded before is dropped, whose memory it needs.
Training::RecordedPass* Training::recorded_pass(DistillationBatch& batch, double scale) {
  const auto rows = batch.ids.size(0);
  if (const auto found = recorded_.find(rows); found != recorded_.end()) {
    auto& pass = found->second;
    pass.batch.ids.copy_(batch.ids);
    pass.batch.teacher_hidden.copy_(batch.teacher_hidden);
    return &pass;
  }
  if (run_unrecorded_.insert(rows).second) {
    recorded_.clear();
    return nullptr;
  }
  at::Tensor sum;
  try {
    const auto* other = recorded_.empty() ? nullptr : &recorded_.begin()->second.work;
    RecordedWork work(
        student_.device(),
        [&] {
          sum = backward({&batch, 1}, scale);
        },
        other);
    return &recorded_.try_emplace(rows, std::move(batch), sum, std::move(work)).first->second;
  } catch (const c10::Error& error) {
    failed_recording_ = error.what_without_backtrace();
  } catch (const Error& error) {
    failed_recording_ = error.what();
  }
  sum = at::Tensor();
  recorded_.clear();
  if (student_.codes() != nullptr) student_.codes()->drop_collected();
  release_cached_memory(student_.device());
  return nullptr;
}

void Training::drop_recorded() {
  recorded_.clear();
  run_unrecorded_.clear();
}

StepReport Training::step() {
  const auto chosen = next_rows();
  const double tokens = rows_.counted_tokens(chosen);
  const auto share = processes_.share(chosen.size(0));
  const auto sum = backward(chosen.narrow(0, share.begin, share.count), 1 / std::max(1.0, tokens));
  std::vector<at::Tensor> shared = {sum};
  for (const auto& group : student_.tunables().groups()) shared.push_back(group.gradient);
  processes_.all_reduce_sum(shared);
  StepReport report;
  if (tokens > 0) {
    const bool finite_codes = student_.codes() == nullptr || student_.codes()->finite_gradients();
    report = {.divergence = sum.item<double>() / tokens,
              .finite_gradients = finite_codes && student_.tunables().finite_gradients()};
    if (report.is_sound()) adam_.step(rate_share(step_, options_));
  }
  if (!report.is_sound()) student_.tunables().clear_gradients();
  ++step_;
  tokens_ += chosen.size(0) * rows_.row_tokens();
  return report;
}

double mean_divergence(const Student& student, const TeacherStates& rows, std::int64_t rows_at_a_time,
                       const Processes& processes) {
  const auto device = student.device();
  auto sum = at::zeros({}, at::TensorOptions(at::kDouble).device(device));
  const auto share = processes.share(rows.rows());
  const auto mine = at::arange(share.begin, share.begin + share.count, at::TensorOptions(at::kLong));
  for (const auto& part : parts(mine, rows_at_a_time)) sum += student.divergence(rows.pick(part, device)).sum();
  processes.all_reduce_sum({sum});
  return sum.item<double>() / rows.counted_tokens();
}

}  // namespace normtweak::tweak
