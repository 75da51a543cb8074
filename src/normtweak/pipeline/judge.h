// The last part of a run: which state is kept, and its figures.
#pragma once
#include "normtweak/pipeline/calibration_text.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::pipeline {

struct Judged {
  model::Decoder kept;
  bool kept_tweaked = false;  // whether that is the tweaked state
  TextFigures held_out;
  std::optional<evaluate::Scores> rejected;  // of the tweaked state, if it is not kept
  tweak::Verdict verdict;                    // meaningless if nothing was tweaked
};

// A tweaked state that is to be judged.
struct Tweaked {
  model::Decoder model;
  std::string name;  // "last", "0.6 of the way", "tweaked", ...
  bool won = true;   // on the rows that choose; false: it is scored for the report, and kept only unguarded
};

// exact: the float model; all in F32. Scores both states on the confirmation rows and keeps `tweaked` only if it won
// before and its gain is confirmed, or, unguarded, if its divergence is finite. tweaked: nullopt if there is no tweaked
// state.
Judged judge_on_held_out(const model::Decoder& exact, const model::Decoder& untouched,
                         const std::optional<Tweaked>& tweaked, const tweak::TextSplit& text, bool unguarded,
                         ProgressSink& progress);

// Figures for external texts. tweaked: null if the untouched state is kept.
std::vector<TextFigures> score_external(const model::Decoder& exact, const model::Decoder& untouched,
                                        const model::Decoder* tweaked, const std::vector<ExternalTokens::Text>& texts,
                                        ProgressSink& progress);

// The same for LAMBADA, which must not be empty.
LambadaFigures score_lambada(const model::Decoder& exact, const model::Decoder& untouched,
                             const model::Decoder* tweaked, const ExternalTokens& external, ProgressSink& progress);

}  // namespace normtweak::pipeline
