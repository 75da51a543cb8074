// Options and results of the long-running commands (quantize, tweak).
#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "normtweak/base/processes/processes.h"
#include "normtweak/base/progress.h"
#include "normtweak/calibrate/self_generated.h"
#include "normtweak/evaluate/lambada.h"
#include "normtweak/evaluate/scores.h"
#include "normtweak/evaluate/text_file.h"
#include "normtweak/formats/readers.h"
#include "normtweak/quantize/plan.h"
#include "normtweak/quantize/signround.h"
#include "normtweak/transform/transforms.h"
#include "normtweak/tweak/end_to_end.h"
#include "normtweak/tweak/guard.h"
#include "normtweak/tweak/layerwise.h"

namespace normtweak::pipeline {

struct Compute {
  c10::Device device = at::kCPU;
  at::ScalarType type = at::kFloat;  // compute dtype of generation, calibration and training; scores use F32
  Processes processes = {};          // share the work; by default this process alone
  std::int64_t memory = 0;           // bytes of device memory to plan with; 0: what is free
};

// Where the calibration text comes from: a file of ids, a text file, or the model itself.
struct TextSource {
  std::filesystem::path ids;        // safetensors with input_ids; empty: not used
  std::filesystem::path real_text;  // a text file; empty: not used
  calibrate::TextOptions self;      // generation options; samples and tokens apply to real_text too
};

struct LambadaFile {
  std::filesystem::path path;     // JSON lines
  std::int64_t max_examples = 0;  // at most this many; 0: all
};

// Everything to report figures on besides the held-out rows.
struct External {
  std::vector<evaluate::TextFile> texts;  // other than the calibration text
  std::optional<LambadaFile> lambada;
};

enum class TweakMethod { none, layerwise, end_to_end };

struct TweakMethodName {
  TweakMethod method;
  const char *name, *description;
};
constexpr TweakMethodName kTweakMethods[] = {
    {TweakMethod::none, "none", "quantize only"},
    {TweakMethod::end_to_end, "end-to-end", "minimise KL through the whole model"},
    {TweakMethod::layerwise, "layerwise", "Norm Tweaking, arXiv 2309.02784"},
};

struct TweakOptions {
  TweakMethod method = TweakMethod::end_to_end;
  tweak::LayerwiseOptions layerwise;
  tweak::EndToEndOptions end_to_end;
  bool groups_named = false;  // the user chose end_to_end.groups: those that the model lacks are noted
  bool fresh_text = false;    // end to end: the model writes later texts, as the first was made
  bool unguarded = false;     // save the tweaked state whatever the held-out rows say of it
};

struct QuantizeOptions {
  std::string model;
  std::filesystem::path output;
  std::string format = "compressed-tensors";  // a row of save_formats()
  std::string served_by;                      // a row of servers() that must open the result; empty: any
  std::string gguf_type;                      // with the format gguf: a row of formats::gguf_presets()
  quantize::QuantizationPlan plan;
  transform::TransformOptions transform;
  std::set<std::string> named;               // options of the plan that the user gave, such as "--bits"
  bool standard_group_size = false;          // in place of the plan's: standard_group_size() of preflight.h
  std::optional<at::ScalarType> store_type;  // nullopt: the original's, or float16 for a GGUF file
  TweakOptions tweak;
  TextSource text;
  External external;
  Compute compute;
};

struct TweakRunOptions {
  std::string quantized, reference;
  std::filesystem::path output;  // a folder, or of a GGUF file a file; empty: only `patch` is written
  std::filesystem::path patch;   // what changed, for pipeline::apply_patch(); empty: not written
  bool wide_norms = false;       // norms that the file stores in 16 bits are tuned, judged and written in F32
  TweakOptions tweak;
  TextSource text;
  External external;
  Compute compute;
};

// Of the float model, the quantized model, and the saved model.
struct Perplexities {
  double exact = 0, quantized = 0, tweaked = 0;
  double error = 0;  // one standard error of the saved model's
};

// Figures for one text.
struct TextFigures {
  std::string name, protocol;
  std::int64_t tokens_scored = 0;
  Perplexities perplexity;                      // per token, or of documents per word
  std::optional<Perplexities> byte_perplexity;  // of documents
  evaluate::Scores quantized, tweaked;          // both with the float model as the reference; of documents only the
                                                // divergence and the agreement
};

struct LambadaFigures {
  std::string name;
  evaluate::LambadaScores exact, quantized, tweaked;  // of the float model, the quantized model and the saved model
};

struct RunResult {
  std::string model, method, tweak_method;
  int bits = 0, group_size = 0;
  std::optional<double> drift_correction;  // quantize: the requested share, if it applies to any linear
  double bits_per_weight = 0;
  std::int64_t samples = 0, tokens_per_sample = 0;  // of the calibration text, held-out rows included
  std::int64_t held_out_samples = 0;
  TextFigures held_out;
  // On the held-out rows: of the tweaked state that the guard rejected, or of the best candidate that was not chosen.
  std::optional<evaluate::Scores> rejected;
  std::string rejected_state;  // its name
  std::vector<TextFigures> external;
  std::optional<LambadaFigures> lambada;
  tweak::Verdict verdict;  // of the guard; meaningless without a tweaked state
  std::string kept;        // which state was saved: "untouched", "last", ...
  std::vector<tweak::LayerwiseReport> blocks;
  std::optional<tweak::EndToEndResult> end_to_end;  // its model is left empty
  std::int64_t steps = 0;
  std::map<std::string, double> seconds;  // load, generate, quantize, tweak, evaluate, save, total
  // What led to this result.
  // quantize: as resolved for this model; its standard plan is main_plan() of planned_linears.h
  std::optional<quantize::QuantizationPlan> plan;
  std::vector<quantize::PlanShare> plan_shares;     // quantize: what the rules made of it
  transform::TransformOptions transform;            // quantize
  std::vector<transform::BlockReport> transformed;  // quantize: what it did to each block; empty without one
  std::vector<quantize::SignRoundReport> rounded;   // quantize: of each block whose rounding was learned
  std::vector<std::string> not_folded;              // quantize: what it leaves out in this model, and why
  TweakOptions tweak;
  std::map<std::string, std::string> text;  // where the calibration text came from
  // Where it is, and its bytes with those of the float model's tensors.
  std::filesystem::path output;
  std::vector<formats::Reader> readers;  // who opens the output
  std::int64_t output_bytes = 0, float_bytes = 0;
};

}  // namespace normtweak::pipeline
