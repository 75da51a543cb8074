// The end-to-end tweak: minimise KL(float ‖ quantized) over the next-token distribution through the whole model, by
// moving floats that the quantized file already holds. While a model is quantized, its codes may be learned as well.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/base/processes/processes.h"
#include "normtweak/base/progress.h"
#include "normtweak/calibrate/token_batch.h"
#include "normtweak/model/decoder.h"
#include "normtweak/tweak/candidates.h"
#include "normtweak/tweak/code_positions.h"
#include "normtweak/tweak/rate_search.h"
#include "normtweak/tweak/training.h"
#include "normtweak/tweak/tunables.h"

namespace normtweak::tweak {

// Limits of a run; 0: no limit. Learning-rate trials count.
struct Budget {
  double seconds = 0;       // for the whole tweak; converted to a number of steps before training begins
  std::int64_t tokens = 0;  // training tokens of all steps
};

// A model whose blocks' linears have at least so many weights is large: its time is that of the tokens it sees.
inline constexpr std::int64_t kLargeModel = 2'000'000'000;

struct EndToEndOptions {
  // Groups that the model lacks are skipped.
  std::set<TunableGroup> groups = {TunableGroup::norms, TunableGroup::scales, TunableGroup::codebooks,
                                   TunableGroup::zeros};
  // Learning rates; nullopt: the standard rate, times a factor found by short trials. Norms beside scales get the share
  // kNormShare of it.
  std::optional<double> norm_rate = {};   // of norms and biases, absolute
  std::optional<double> scale_rate = {};  // of scales and codebooks, relative to their size
  std::optional<double> zero_rate = {};   // of zero-points, in code steps; nullopt: scale_rate if given
  std::optional<CodeOptions> codes = {};  // how codes are learned, with the betas below; nullopt: they are not
  std::int64_t batch_rows = 0;            // rows per step; 0: rows totalling 8192 to 16384 tokens, of large models 4096
  std::int64_t steps = 0;                 // exact number of steps; 0: by `passes` and `budget`
  std::int64_t stop_after = 0;            // stop after this many steps, with the schedule unchanged; 0: run all
  std::int64_t passes = 0;                // epochs over the text; 0: 8, of large models 2, or what the budget allows
  std::int64_t passes_per_text = 1;       // if the text is written anew while the run goes on: passes that each serves
  std::int64_t large_model = kLargeModel;  // weights of the blocks' linears from which a model is large
  Budget budget = {};
  double beta1 = 0.9, beta2 = 0.95;
  std::int64_t warmup_steps = 5;      // linear warm-up, then cosine decay
  std::int64_t checks = 8;            // how often the selection rows are scored in a run
  std::int64_t activation_bytes = 0;  // memory for activations kept for the backward pass; 0: what fits the device
  std::uint64_t seed = 0;             // order of the rows
};

// Whether a model whose blocks' linears have so many weights takes few passes in small steps: it is large, and neither
// steps nor passes nor a budget is given. The number of steps matters more than that of the passes.
bool takes_few_passes(const EndToEndOptions& options, std::int64_t weights);

// Tokens of its steps at most, where their number of rows is not given; one row may have more.
std::int64_t most_step_tokens(const EndToEndOptions& options, std::int64_t weights);

// The split of the text; the parts are disjoint.
struct TextSplit {
  calibrate::TokenBatch train;    // quantizer calibration and training steps
  calibrate::TokenBatch select;   // choose the learning rate and the candidate
  calibrate::TokenBatch confirm;  // accept or reject the chosen one; source of the report's figures
};

// Writes the texts after the first (1, 2, …), all different: as many rows of as many tokens as those that train, the
// same in all processes. stops: asked while it writes; once true, this process leaves out the rest of its rows, and
// nobody will read the text.
using FreshText = std::function<calibrate::TokenBatch(std::int64_t number, const std::function<bool()>& stops)>;

// Number of rows in each part: about one row in 16 selects (1 to 16 rows) and one in 8 confirms (2 to 16 rows).
struct TextShares {
  std::int64_t train = 0, select = 0, confirm = 0;
};
TextShares text_shares(std::int64_t rows);

// The fewest rows that can be split.
inline constexpr std::int64_t kLeastRows = 4;

// Throws Error if there are fewer.
TextSplit split_text(const calibrate::TokenBatch& text);

// Why the steps ended.
enum class Stopped { completed, as_asked, no_gain, interrupted, diverged, not_finite };
std::string_view stopped_name(Stopped stopped);  // "completed", "no-gain", ...

// The options `steps` = planned_steps, `stop_after` = steps, `batch_rows` and `rates` reproduce the run bit for bit.
struct EndToEndResult {
  model::Decoder decoder;  // with the chosen candidate's values; the guard has not judged it yet
  std::string chosen;
  // If that is the untouched state: the best other candidate, to be reported.
  struct RunnerUp {
    std::string name;
    model::Decoder decoder;
  };
  std::optional<RunnerUp> runner_up;
  // If codes were learned: the share of them that differs from the start, in the chosen state or else the runner-up.
  std::optional<double> changed_codes;
  std::set<TunableGroup> groups;  // of the floats that were tuned: those that were wanted and are there
  std::vector<Candidate> candidates;
  LearningRates rates;            // used by the steps
  std::vector<RateTrial> trials;  // the trials that found them; empty if they were given
  std::int64_t batch_rows = 0;
  std::int64_t planned_steps = 0;  // length of the learning-rate schedule
  std::int64_t steps = 0;          // taken, without trials; less than planned if the run stopped early
  std::int64_t tokens = 0;         // training tokens of these steps
  double seconds = 0;              // for the steps alone
  Stopped stopped = Stopped::completed;
  std::string stopped_early;  // the same as a sentence that names the step; empty if completed
};

// teacher: the float model; student: the quantized one, with the same compute dtype and device, which is the state
// called "untouched". Processes share the rows and get the same result, which differs from that of a single process
// only in summation order. floats: the float model in F32, toward whose weights codes are learned; only read with
// `codes`. fresh: without it, all passes take the same rows; trials of the learning rate always do.
EndToEndResult tweak_end_to_end(const model::Decoder& teacher, const model::Decoder& student, const TextSplit& text,
                                const EndToEndOptions& options, ProgressSink& progress, const Processes& processes = {},
                                const model::Decoder* floats = nullptr, const FreshText& fresh = {});

}  // namespace normtweak::tweak
