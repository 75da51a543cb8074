#include "normtweak/tweak/end_to_end.h"

#include <ATen/ops/scalar_tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "normtweak/base/processes/interrupt.h"
#include "normtweak/base/stopwatch.h"
#include "normtweak/base/strings/wording.h"

namespace normtweak::tweak {
namespace {

constexpr std::int64_t kStandardPasses = 8, kPassesOfLarge = 2;
constexpr std::int64_t kStepTokens = 8192, kMostStepTokens = 16384, kStepTokensOfLarge = 4096;
constexpr double kRecordedShare =
    0.625;                       // of the workspace, which a recorded pass may keep while scoring runs beside it
constexpr int kPatience = 3;     // checks without improvement after which a run stops
constexpr double kDiverged = 2;  // multiple of the untouched divergence at which a run counts as diverged

// Of the blocks' linears, taking all blocks for as large as the last.
std::int64_t linear_weights(const model::Decoder& floats) {
  const auto last = floats.blocks.stored(floats.blocks.size() - 1);
  std::int64_t weights = 0;
  for (const auto& part : last->linears) {
    weights += std::get<weights::FloatWeight>(part.linear.weight).values.numel();
  }
  return weights * floats.blocks.size();
}

class Run {
 public:
  // teacher_seconds: what the float model's pass over the rows that train takes.
  Run(const model::Decoder& teacher, const model::Decoder& student, TeacherStates& train, const TeacherStates& select,
      const EndToEndOptions& options, const FreshText& fresh, double teacher_seconds, const Stopwatch& whole,
      ProgressSink& progress, const Processes& processes, const model::Decoder* floats)
      : teacher_(teacher),
        student_(student, options.groups),
        train_(train),
        select_(select),
        options_(options),
        fresh_(fresh),
        whole_(whole),
        progress_(progress),
        processes_(processes),
        weights_(linear_weights(teacher)),
        teacher_seconds_(teacher_seconds) {
    training_.beta1 = options.beta1;
    training_.beta2 = options.beta2;
    training_.warmup_steps = options.warmup_steps;
    training_.seed = options.seed;
    training_.batch_rows = batch_rows();
    pass_ = pass_size(student, train.row_tokens(), training_.batch_rows, options.activation_bytes,
                      options.codes.has_value());
    // Passes of large models keep a GPU busy as it is.
    training_.records = weights_ < options.large_model &&
                        static_cast<double>(pass_.bytes) <= kRecordedShare * static_cast<double>(student.workspace);
    if (!options.codes) return;
    auto codes = *options.codes;
    codes.beta1 = options.beta1;
    codes.beta2 = options.beta2;
    student_.learn_codes(*floats, codes);
  }

  EndToEndResult run() {
    note_large();
    const double untouched = selection_divergence();
    Candidates candidates(student_, untouched, [this] { return selection_divergence(); });
    plan_rates(untouched);
    plan_steps();
    auto on_the_way = train(untouched);
    const auto last = state_of(student_);
    candidates.consider("last", last);
    candidates.consider("best on the way", on_the_way);
    candidates.consider_parts_of(candidates.leader_name() == "untouched" ? last : candidates.leader());
    candidates.search_by_group();
    if (candidates.leader_name() == "untouched" && !candidates.best_change_name().empty()) {
      set_state(student_, candidates.best_change());
      result_.runner_up = {candidates.best_change_name(), student_.decoder()};
      result_.changed_codes = changed_codes(candidates.best_change());
    } else {
      result_.changed_codes = changed_codes(candidates.leader());
    }
    set_state(student_, candidates.leader());
    result_.decoder = student_.decoder();
    result_.chosen = candidates.leader_name();
    for (const auto& group : student_.tunables().groups()) result_.groups.insert(group.group);
    result_.candidates = candidates.all();
    result_.rates = training_.rates;
    result_.batch_rows = training_.batch_rows;
    result_.planned_steps = training_.steps;
    return std::move(result_);
  }

 private:
  bool few_passes() const { return takes_few_passes(options_, weights_); }

  void note_large() const {
    if (!few_passes()) return;
    progress_.note(
        fmt::format("tweak: {} epochs in steps of {}, since the blocks have {:.1f} billion weights; --epochs {} takes "
                    "about {} times as long and may win more",
                    kPassesOfLarge, counted(training_.batch_rows, "row"), static_cast<double>(weights_) / 1e9,
                    kStandardPasses, kStandardPasses / kPassesOfLarge));
  }

  // Rows totalling about 8192 tokens, but at least 8 steps per epoch; up to 16384 tokens if 28 steps or more remain,
  // since otherwise a small model's step is too short for a GPU. With few passes 4096, and again 8 steps at least.
  std::int64_t batch_rows() const {
    if (options_.batch_rows > 0) return options_.batch_rows;
    const auto rows = [&](std::int64_t tokens, std::int64_t least_steps) {
      return std::min(tokens / train_.row_tokens(), train_.rows() / least_steps);
    };
    if (few_passes()) return std::max<std::int64_t>(1, rows(kStepTokensOfLarge, 8));
    return std::max<std::int64_t>({1, rows(kStepTokens, 8), rows(kMostStepTokens, 28)});
  }

  std::int64_t batches() const { return (train_.rows() + training_.batch_rows - 1) / training_.batch_rows; }

  // For which a text serves that is written while the run goes on.
  std::int64_t steps_per_text() const { return batches() * options_.passes_per_text; }

  // Steps requested by the options, before applying a time budget.
  std::int64_t asked_steps() const {
    if (options_.steps > 0) return options_.steps;
    const auto by_tokens = options_.budget.tokens / (training_.batch_rows * train_.row_tokens());
    if (options_.budget.tokens > 0 && options_.passes == 0) return std::max<std::int64_t>(1, by_tokens - trial_cost());
    const auto standard = few_passes() ? kPassesOfLarge : kStandardPasses;
    const auto by_passes = batches() * (options_.passes > 0 ? options_.passes : standard);
    if (options_.budget.tokens == 0) return by_passes;
    return std::clamp<std::int64_t>(by_tokens - trial_cost(), 1, by_passes);
  }

  std::int64_t trial_cost() const { return static_cast<std::int64_t>(result_.trials.size()) * trial_steps_taken_; }

  void plan_rates(double untouched) {
    const bool given = options_.norm_rate && options_.scale_rate;
    if (limited_by_time() && (fresh_ || !given)) measure_step();
    if (fresh_ && limited_by_time()) {
      const bool outlasts_its_text = steps_in(seconds_left()) > steps_per_text();
      if (any_process(outlasts_its_text)) measure_renewal();  // which all do together
    }
    const auto steps = given ? 0 : trial_steps(steps_in_budget());
    standard_rate_ = standard_rate(untouched);
    double factor = 1;
    if (steps > 0) {
      trial_steps_taken_ = steps;
      const auto search = search_rate([&](double tried) { return trial(tried, steps, untouched); });
      factor = search.factor;
      result_.trials = search.trials;
    }
    set_rates(factor);
  }

  void set_rates(double factor) {
    auto& rates = training_.rates;
    rates.norms = options_.norm_rate.value_or(factor * standard_rate_ * (tunes_scales() ? kNormShare : 1));
    rates.scales = options_.scale_rate.value_or(factor * standard_rate_);
    rates.zeros = options_.zero_rate.value_or(options_.scale_rate.value_or(factor * standard_rate_));
  }

  bool tunes_scales() const {
    const auto groups = student_.tunables().groups();
    return std::ranges::any_of(groups, [](const auto& group) {
      return group.group == TunableGroup::scales || group.group == TunableGroup::codebooks;
    });
  }

  // Sets the student to the untouched state, which is returned.
  State start_over() {
    auto untouched = untouched_state(student_);
    set_state(student_, untouched);
    if (student_.codes() != nullptr) student_.codes()->start_over();
    return untouched;
  }

  // Runs a complete short training; returns its final divergence.
  double trial(double factor, std::int64_t steps, double untouched) {
    set_rates(factor);
    training_.steps = steps;
    start_over();
    Stage stage(progress_, fmt::format("try learning rate {:.2g}", training_.rates.norms), steps, "steps");
    Training training(student_, train_, training_, pass_, processes_);
    Stopwatch watch;
    for (std::int64_t step = 0; step < steps; ++step) {
      if (step == untimed_steps()) watch = Stopwatch();
      const auto report = training.step();
      stage.advance(1, fmt::format("KL {:.4f}", report.divergence));
      if (!report.is_sound() || report.divergence > 4 * kDiverged * untouched) {
        return std::numeric_limits<double>::infinity();
      }
    }
    seconds_per_step_ = watch.seconds() / static_cast<double>(steps - untimed_steps());
    note_recording(training);
    return selection_divergence();
  }

  void plan_steps() {
    if (limited_by_time() && seconds_per_step_ == 0) measure_step();
    training_.steps = steps_in_budget();
    note_unread_text();
  }

  void note_unread_text() const {
    const auto steps = options_.stop_after > 0 ? std::min(options_.stop_after, training_.steps) : training_.steps;
    if (!fresh_ || steps > steps_per_text()) return;
    progress_.note(fmt::format("--fresh-text: has no effect, since the run ends within {}, with {} of {}",
                               options_.passes_per_text > 1 ? counted(options_.passes_per_text, "epoch") : "an epoch",
                               steps, counted(steps_per_text(), "step")));
  }

  bool limited_by_time() const { return options_.budget.seconds > 0 && options_.steps == 0; }

  // Of a time budget, for steps and the texts that are written between them.
  double seconds_left() const {
    const double scoring = static_cast<double>(options_.checks + 8) * seconds_per_score_;
    return options_.budget.seconds - whole_.seconds() - scoring;
  }

  // Steps requested by the options and allowed by the rest of a time budget, the same in all processes.
  std::int64_t steps_in_budget() const {
    const auto asked = asked_steps();
    if (!limited_by_time()) return asked;
    const auto by_time = std::max<std::int64_t>(1, steps_in(seconds_left()));
    const bool passes_given = options_.passes > 0 || options_.budget.tokens > 0;
    const auto steps = at::scalar_tensor(passes_given ? std::min(asked, by_time) : by_time, at::kLong);
    processes_.broadcast({steps});  // clocks differ
    return steps.item<std::int64_t>();
  }

  // Of the first text, which is there, and of those that are written.
  std::int64_t steps_in(double seconds) const {
    const auto own = std::min(steps_per_text(), static_cast<std::int64_t>(seconds / seconds_per_step_));
    const double renewal = seconds_per_renewal_ / static_cast<double>(steps_per_text());
    return std::max(own, static_cast<std::int64_t>(seconds / (seconds_per_step_ + renewal)));
  }

  // Writes the second text.
  void measure_renewal() {
    const Stopwatch watch;
    next_text_ = fresh_(1, {});
    seconds_per_renewal_ = watch.seconds() + teacher_seconds_;
  }

  // The first steps load kernels, and record the passes where that can be done.
  std::int64_t untimed_steps() const { return training_.records && can_record_work(student_.device()) ? 2 : 1; }

  void note_recording(const Training& training) {
    if (training.failed_recording().empty()) return;
    progress_.note(fmt::format(
        "tweak: the kernels of a step are launched one by one, which is slower, since CUDA does not record them: {}",
        training.failed_recording()));
  }

  void measure_step() {
    training_.steps = untimed_steps() + 1;
    start_over();
    Training training(student_, train_, training_, pass_, processes_);
    for (std::int64_t step = 0; step < untimed_steps(); ++step) training.step();
    const Stopwatch watch;
    training.step();
    seconds_per_step_ = watch.seconds();
    note_recording(training);
  }

  // Runs all steps. Returns the best state seen at a check, or the untouched one.
  State train(double untouched) {
    auto best = start_over();
    double least = untouched;
    int checks_without_gain = 0;
    const auto steps = training_.steps;
    const auto interval = std::max<std::int64_t>(1, steps / std::max<std::int64_t>(1, options_.checks));
    Training training(student_, train_, training_, pass_, processes_);
    const InterruptScope interrupt;  // before the first line that shows that there is something to interrupt
    Stage stage(progress_, "tweak end to end", steps * training_.batch_rows * train_.row_tokens(), "tokens");
    for (std::int64_t step = 0; step < steps && result_.stopped_early.empty(); ++step) {
      if (fresh_ && step > 0 && step % steps_per_text() == 0) {
        training.drop_recorded();  // the text is written in that memory, and other lengths replace tables
        const auto text = later_text(step / steps_per_text(), interrupt);
        if (any_process(interrupt.requested())) {
          stop(Stopped::interrupted, interrupted_after(step));
          break;
        }
        renew_rows(text);
      }
      const Stopwatch watch;
      const auto seen = training.tokens();
      const auto report = training.step();
      result_.seconds += watch.seconds();
      result_.tokens = training.tokens();
      ++result_.steps;
      stage.advance(training.tokens() - seen, fmt::format("KL {:.4f}", report.divergence));
      if (!report.is_sound()) {
        stop(Stopped::not_finite, fmt::format("{} was not finite at step {}; the best state before it counts",
                                              report.finite_gradients ? "the loss" : "a gradient", step + 1));
      } else if (any_process(interrupt.requested())) {
        stop(Stopped::interrupted, interrupted_after(step + 1));
      } else if (step + 1 == options_.stop_after && step + 1 < steps) {
        // Not checked after this step: a run that stopped early found no improvement there.
        stop(Stopped::as_asked, fmt::format("as asked, after step {} of {}", step + 1, steps));
      } else if ((step + 1) % interval == 0 && step + 1 < steps) {
        const double score = selection_divergence();
        // While the rate is high, the floats fluctuate around a better state, which shows once the rate falls.
        if (2 * (step + 1) > steps) ++checks_without_gain;
        if (score < least) {
          least = score;
          best = state_of(student_);
          checks_without_gain = 0;
        }
        if (!(score < kDiverged * untouched)) {
          stop(Stopped::diverged,
               fmt::format("the loss diverged by step {}; the best state before it counts", step + 1));
        } else if (options_.steps == 0 && checks_without_gain == kPatience) {
          stop(Stopped::no_gain, fmt::format("no gain on held-out rows in {} checks, by step {}", kPatience, step + 1));
        }
      }
    }
    note_recording(training);
    return best;
  }

  std::string interrupted_after(std::int64_t step) const {
    return fmt::format("interrupted after step {} of {}; the best state so far counts", step, training_.steps);
  }

  // Not to be read if there was an interrupt.
  calibrate::TokenBatch later_text(std::int64_t number, const InterruptScope& interrupt) {
    if (auto written = std::exchange(next_text_, std::nullopt)) return *std::move(written);
    return fresh_(number, [&] { return interrupt.requested(); });
  }

  void renew_rows(const calibrate::TokenBatch& text) {
    Stage stage(progress_, "float model", train_.tokens_to_replace(processes_), "tokens");
    train_.replace(teacher_, text, stage, processes_);
  }

  // The share of the learned codes that differs from the start; nullopt if they are not learned.
  std::optional<double> changed_codes(const State& state) const {
    if (student_.codes() == nullptr) return std::nullopt;
    const auto start = student_.codes()->start_codes();
    double changed = 0, all = 0;
    for (std::size_t i = 0; i < start.size(); ++i) {
      changed += start[i].ne(state.codes[i].to(start[i].device())).sum().item<double>();
      all += static_cast<double>(start[i].numel());
    }
    return changed / all;
  }

  void stop(Stopped why, std::string sentence) {
    result_.stopped = why;
    result_.stopped_early = std::move(sentence);
  }

  bool any_process(bool here) const {
    const auto count = at::scalar_tensor(here ? 1 : 0, at::kLong);
    processes_.all_reduce_sum({count});
    return count.item<std::int64_t>() > 0;
  }

  double selection_divergence() {
    const Stopwatch watch;
    const double divergence = mean_divergence(student_, select_, pass_.rows, processes_);
    seconds_per_score_ = watch.seconds();
    return divergence;
  }

  const model::Decoder& teacher_;
  Student student_;
  TeacherStates& train_;
  const TeacherStates& select_;
  EndToEndOptions options_;
  const FreshText& fresh_;
  Stopwatch whole_;  // since the start of the whole tweak
  ProgressSink& progress_;
  const Processes& processes_;
  TrainingOptions training_;
  PassSize pass_;
  EndToEndResult result_;
  std::int64_t weights_;  // of the blocks' linears
  double standard_rate_ = 0;
  std::int64_t trial_steps_taken_ = 0;  // per trial
  double seconds_per_step_ = 0, seconds_per_score_ = 0;
  double seconds_per_renewal_ = 0;                  // of fresh text, for a time budget
  std::optional<calibrate::TokenBatch> next_text_;  // the second, if it is written already
  double teacher_seconds_;                          // of its pass over the rows that train
};

}  // namespace

bool takes_few_passes(const EndToEndOptions& options, std::int64_t weights) {
  const auto& [seconds, tokens] = options.budget;
  const bool given = options.steps > 0 || options.passes > 0 || seconds > 0 || tokens > 0;
  return !given && weights >= options.large_model;
}

std::int64_t most_step_tokens(const EndToEndOptions& options, std::int64_t weights) {
  return takes_few_passes(options, weights) ? kStepTokensOfLarge : kMostStepTokens;
}

std::string_view stopped_name(Stopped stopped) {
  switch (stopped) {
    case Stopped::completed:
      return "completed";
    case Stopped::as_asked:
      return "as-asked";
    case Stopped::no_gain:
      return "no-gain";
    case Stopped::interrupted:
      return "interrupted";
    case Stopped::diverged:
      return "diverged";
    case Stopped::not_finite:
      return "not-finite";
  }
  return "";
}

EndToEndResult tweak_end_to_end(const model::Decoder& teacher, const model::Decoder& student, const TextSplit& text,
                                const EndToEndOptions& options, ProgressSink& progress, const Processes& processes,
                                const model::Decoder* floats, const FreshText& fresh) {
  const Stopwatch whole;
  const auto memory = TeacherStates::share_of_memory(processes);
  const auto own_tokens = [&](const calibrate::TokenBatch& rows) {
    return TeacherStates::tokens_to_pass(teacher, rows, memory, processes);
  };
  auto tokens = own_tokens(text.train);
  tokens += own_tokens(text.select);  // a separate statement: all processes must ask in the same order
  std::optional<Stage> stage(std::in_place, progress, "float model", tokens, "tokens");
  TeacherStates train(teacher, text.train, *stage, memory, processes);
  const double seconds = stage->seconds();
  const TeacherStates select(teacher, text.select, *stage, memory, processes);
  stage.reset();
  return Run(teacher, student, train, select, options, fresh, seconds, whole, progress, processes, floats).run();
}

}  // namespace normtweak::tweak
