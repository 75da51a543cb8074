// The end-to-end tweak: minimise KL(float ‖ quantized) over the next-token distribution through the whole model, by
// moving floats that the quantized file already holds.
#pragma once
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "normtweak/base/progress.h"
#include "normtweak/calibrate/token_batch.h"
#include "normtweak/model/decoder.h"
#include "normtweak/tweak/tunables.h"

namespace normtweak::tweak {

struct EndToEndOptions {
  std::set<TunableGroup> groups = {TunableGroup::norms, TunableGroup::scales, TunableGroup::codebooks};
  double norm_rate = 2e-3;   // learning rate of norms and biases, absolute
  double scale_rate = 2e-3;  // of scales and codebooks, relative to their size, and of zero-points, absolute
  double beta1 = 0.9, beta2 = 0.95;
  std::int64_t warmup_steps = 5;  // the rate rises linearly over these, then falls as a cosine
  std::int64_t batch_rows = 8;    // rows in one step
  std::int64_t passes = 3;        // over the text
  std::int64_t checks = 6;        // times in a run that the selection rows are scored
  std::uint64_t seed = 0;         // order of the rows
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

// A state that could be kept, and its score on the selection rows.
struct Candidate {
  std::string name;       // "untouched", "last", "best on the way", "0.6 of the way", "norms only", ...
  double divergence = 0;  // nats per token
};

struct EndToEndResult {
  model::Decoder decoder;  // with the chosen candidate's values; the guard has not judged it yet
  std::string chosen;
  std::vector<Candidate> candidates;
  std::int64_t steps = 0;     // taken
  std::int64_t tokens = 0;    // that the steps saw
  double seconds = 0;         // of the steps alone
  std::string stopped_early;  // why, where it was so: a loss that was not finite
};

// teacher: the float model; student: the quantized one, of the same type and on the same device.
EndToEndResult tweak_end_to_end(const model::Decoder& teacher, const model::Decoder& student, const TextSplit& text,
                                const EndToEndOptions& options, ProgressSink& progress);

}  // namespace normtweak::tweak
