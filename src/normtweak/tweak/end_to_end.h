// The end-to-end tweak: minimise KL(float ‖ quantized) over the next-token distribution through the whole model, by
// moving floats that the quantized file already holds.
#pragma once
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "normtweak/base/processes.h"
#include "normtweak/base/progress.h"
#include "normtweak/calibrate/token_batch.h"
#include "normtweak/model/decoder.h"
#include "normtweak/tweak/candidates.h"
#include "normtweak/tweak/rate_search.h"
#include "normtweak/tweak/training.h"
#include "normtweak/tweak/tunables.h"

namespace normtweak::tweak {

// How much a run may take; 0: no limit of this kind. Trials of the rate count.
struct Budget {
  double seconds = 0;       // of the whole tweak; the steps that fit are counted before the training begins
  std::int64_t tokens = 0;  // that steps see
};

struct EndToEndOptions {
  // Groups that the model has nothing of are passed over.
  std::set<TunableGroup> groups = {TunableGroup::norms, TunableGroup::scales, TunableGroup::codebooks,
                                   TunableGroup::zeros};
  // Learning rates; nothing: standard ones, times a factor that short trials find.
  std::optional<double> norm_rate = {};   // of norms and biases, absolute
  std::optional<double> scale_rate = {};  // of scales and codebooks, relative to their size
  std::optional<double> zero_rate = {};   // of zero-points, in steps of the codes; nothing: as scale_rate if given
  std::int64_t batch_rows = 0;            // rows in one step; 0: rows of 8192 to 16384 tokens together
  std::int64_t steps = 0;                 // exactly so many; 0: by `passes` and `budget`
  std::int64_t stop_after = 0;            // of those steps, only so many, at the rates of all; 0: all
  std::int64_t passes = 0;                // over the text; 0: 8, or what the budget allows
  Budget budget = {};
  double beta1 = 0.9, beta2 = 0.95;
  std::int64_t warmup_steps = 5;      // the rate rises linearly over these, then falls as a cosine
  std::int64_t checks = 8;            // times in a run that the selection rows are scored
  std::int64_t activation_bytes = 0;  // that may be kept for the way back; 0: what fits the device
  std::uint64_t seed = 0;             // order of the rows
};

// Which rows of the text serve what; no row serves two.
struct TextSplit {
  calibrate::TokenBatch train;    // the quantizer's calibration and the steps
  calibrate::TokenBatch select;   // choose among the candidates
  calibrate::TokenBatch confirm;  // accept or refuse the chosen one; the report's figures come from these
};

// About one row in 16 selects (1 to 16 rows) and one in 8 confirms (2 to 16 rows). Throws Error if there are less than
// 4 rows.
TextSplit split_text(const calibrate::TokenBatch& text);

// The options `steps` = planned_steps, `stop_after` = steps, `batch_rows` and `rates` repeat the run bit by bit.
struct EndToEndResult {
  model::Decoder decoder;  // with the chosen candidate's values; the guard has not judged it yet
  std::string chosen;
  std::vector<Candidate> candidates;
  LearningRates rates;            // that the steps had
  std::vector<RateTrial> trials;  // by which they were found; empty where they were given
  std::int64_t batch_rows = 0;
  std::int64_t planned_steps = 0;  // that the rates fell over
  std::int64_t steps = 0;          // taken; trials not counted. Less than planned where the run stopped early
  std::int64_t tokens = 0;         // that the steps saw
  double seconds = 0;              // of the steps alone
  std::string stopped_early;       // why, where it was so
};

// teacher: the float model; student: the quantized one, of the same type and on the same device.
// start: the quantized model with other floats, to start from; null: from the student itself. Either way "untouched" is
// the student. Processes share the rows and come to the same result, that of one process but for the order of sums.
EndToEndResult tweak_end_to_end(const model::Decoder& teacher, const model::Decoder& student, const TextSplit& text,
                                const EndToEndOptions& options, ProgressSink& progress,
                                const model::Decoder* start = nullptr, const Processes& processes = {});

}  // namespace normtweak::tweak
