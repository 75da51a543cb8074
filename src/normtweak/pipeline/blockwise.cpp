#include "normtweak/pipeline/blockwise.h"

#include <ATen/core/grad_mode.h>

#include <utility>

#include "normtweak/base/device/finite.h"
#include "normtweak/base/error.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/model/finite_outputs.h"
#include "normtweak/pipeline/quantize_block.h"
#include "normtweak/pipeline/stored_floats.h"
#include "normtweak/pipeline/stream.h"
#include "normtweak/pipeline/transform_block.h"

namespace normtweak::pipeline {
namespace {

void check_finite(const at::Tensor& hidden, int block, at::ScalarType type) {
  if (all_finite(hidden)) return;
  fail("block {}: its output is not finite; {}, or the quantized block is broken: try more bits or more damping", block,
       model::about_overflow(type));
}

// One per block; empty if the plan does not need them.
std::vector<quantize::BlockTokenWeights> token_weights(const model::Decoder& decoder, const calibrate::TokenBatch& text,
                                                       const BlockwiseOptions& options, ProgressSink& progress) {
  const auto* plan = options.plan;
  if (plan == nullptr || plan->token_weights == quantize::TokenWeighting::none) return {};
  return quantize::fisher_token_weights(decoder, text, progress, options.processes);
}

void note_scarce(const ScarceExperts& scarce, ProgressSink& progress) {
  const auto note = [&](const std::vector<std::string>& linears, std::string_view what) {
    if (linears.empty()) return;
    progress.note(fmt::format("{} of experts, {} first, {} reached by {}; more text (--samples, --tokens) reaches more",
                              counted(static_cast<std::int64_t>(linears.size()), "linear"), linears.front(),
                              linears.size() == 1 ? "was" : "were", what));
  };
  note(scarce.without_hessian, "too few tokens for a Hessian and rounded without one");
  note(scarce.without_range, "no token, and the range of its input is that of all experts");
}

// The state of a run: the quantized stream, and the float model's own if something is matched to it.
class BlockRun {
 public:
  BlockRun(const model::Decoder& exact, const model::Decoder& passes, const model::Decoder& start,
           const calibrate::TokenBatch& text, const BlockwiseOptions& options, std::int64_t first_row,
           std::vector<quantize::BlockTokenWeights> token_weights)
      : exact_(exact),
        passes_(passes),
        start_(start),
        options_(options),
        first_row_(first_row),
        corrects_drift_(options.plan != nullptr && options.plan->drift_correction > 0),
        mask_(text.mask.defined() ? text.mask.to(passes.device) : at::Tensor()),
        token_weights_(std::move(token_weights)),
        stream_(passes, text),
        result_{.decoder = start, .transformed = {}, .rounded = {}, .tweaked = {}, .steps = 0} {
    if (corrects_drift_ || (options.layerwise && wants_float_stream(*options.layerwise))) {
      float_stream_.emplace(passes, text);
    }
    if (options.plan != nullptr) {
      auto& norm = result_.decoder.final_norm;
      norm = with_stored_floats(std::move(norm), result_.decoder.config.stored_type);
    }
  }

  void run_block(int index) {
    const auto floats = passes_.blocks.get(index);
    at::Tensor target;
    if (options_.layerwise && !options_.layerwise->float_stream) {
      target = stream_.through(*floats);
      check_finite(target, index, passes_.type);
    }
    auto block = options_.plan != nullptr ? quantize(*floats) : *start_.blocks.get(index);
    if (float_stream_) advance_float_stream(*floats);
    if (options_.layerwise) {
      block = tweak_block(std::move(block), options_.layerwise->float_stream ? float_stream_->hidden() : target);
    }
    if (!std::exchange(is_through_, false)) stream_.advance(block);  // with the tweaked norms
    check_finite(stream_.hidden(), index, passes_.type);
    result_.decoder.blocks.put(index, std::make_shared<const model::Block>(std::move(block)));
  }

  void run_final_norm() {
    if (!options_.layerwise || !options_.layerwise->final_norm) return;
    auto& norm = result_.decoder.final_norm;
    if (norm.kind == model::NormKind::none) return;
    const auto target = float_stream_->through(passes_.final_norm);
    auto& report = result_.tweaked.emplace_back();
    norm = tweak::tweak_final_norm(norm, result_.decoder.blocks.size(), stream_.hidden(), target, mask_,
                                   *options_.layerwise, result_.decoder.config.stored_type, &report);
    count_steps();
  }

  BlockwiseResult take_result() { return std::move(result_); }
  const ScarceExperts& scarce() const { return scarce_; }

 private:
  quantize::BlockTokenWeights counts_of(int block) const {
    if (!token_weights_.empty()) return token_weights_[static_cast<std::size_t>(block)];
    quantize::BlockTokenWeights counts;
    counts.fill(mask_);
    return counts;
  }

  // The passes that observed its last place may have gone through to its end.
  void advance_float_stream(const model::Block& floats) {
    if (!std::exchange(float_is_through_, false)) float_stream_->advance(floats);
  }

  // Norms and biases, and what stays float, are those that the result's readers will see.
  model::Block quantize(const model::Block& floats) {
    const auto weights = counts_of(floats.index);
    const auto stored = result_.decoder.config.stored_type;
    const bool transforms = transform::find_transform(options_.transform.name).apply != nullptr;
    const BlockStreams streams = {.quantized = stream_,
                                  .exact = corrects_drift_ ? &*float_stream_ : nullptr,
                                  .weights = weights,
                                  .first_row = first_row_,
                                  .keeps_places = options_.keeps_places,
                                  .final_norms = !transforms && keeps_norms(floats, stored)};
    const auto exact = exact_.blocks.get(floats.index);
    auto passes = with_stored_norms(floats, stored);
    auto block =
        transforms ? quantize_transformed(passes, *exact, streams) : quantize_as_planned(passes, *exact, streams);
    block = with_stored_floats(std::move(block), stored);
    auto reached = std::exchange(reached_, {});
    is_through_ = !options_.layerwise;
    if (is_through_) pass_to_end(block, streams, std::move(reached));
    return block;
  }

  model::Block quantize_transformed(const model::Block& passes, const model::Block& exact,
                                    const BlockStreams& streams) {
    const auto stored = result_.decoder.config.stored_type;
    auto made = transform_block(passes, exact, streams, *passes_.family, *options_.plan, options_.transform, stored,
                                options_.processes);
    result_.transformed.push_back(std::move(made.report));
    return quantize_as_planned(with_stored_norms(std::move(made.passes), stored), made.exact, streams);
  }

  model::Block quantize_as_planned(const model::Block& passes, const model::Block& exact, const BlockStreams& streams) {
    BlockFindings findings;
    auto block = quantize_block(passes, exact, streams, *options_.plan, options_.processes, findings);
    scarce_.add(findings.scarce);
    float_is_through_ = findings.exact_is_through;
    reached_ = std::move(findings.reached);
    if (findings.rounding) result_.rounded.push_back(*findings.rounding);
    return block;
  }

  model::Block tweak_block(model::Block block, const at::Tensor& target) {
    auto& report = result_.tweaked.emplace_back();
    count_steps();
    try {
      return tweak::tweak_block(block, stream_.context(), result_.decoder.blocks.size(), stream_.hidden(), target,
                                mask_, *options_.layerwise, result_.decoder.config.stored_type, &report);
    } catch (const Error& error) {
      fail("block {}: {}", block.index, error.what());
    }
  }

  void count_steps() {
    const auto rows = options_.layerwise->rows_per_step;
    result_.steps += options_.layerwise->passes * ((stream_.hidden().size(0) + rows - 1) / rows);
  }

  const model::Decoder &exact_, &passes_, &start_;
  const BlockwiseOptions& options_;
  std::int64_t first_row_;  // index in the whole text of this process's first row
  bool corrects_drift_;
  at::Tensor mask_;
  std::vector<quantize::BlockTokenWeights> token_weights_;  // one per block; empty if all tokens have equal weight
  Stream stream_;
  std::optional<Stream> float_stream_;
  // Of the block that was just quantized, where the passes that observed it have got so far.
  ReachedPlaces reached_;
  bool is_through_ = false, float_is_through_ = false;  // the two streams are what leaves it
  ScarceExperts scarce_;
  BlockwiseResult result_;
};

}  // namespace

BlockwiseResult run_blocks(const model::Decoder& exact, const model::Decoder& passes, const model::Decoder& start,
                           const calibrate::TokenBatch& text, const BlockwiseOptions& options, ProgressSink& progress) {
  const c10::NoGradGuard no_gradients;
  const int blocks = passes.blocks.size();
  const char* name = options.plan == nullptr ? "tweak" : options.layerwise ? "quantize and tweak" : "quantize";
  const auto share = options.processes.share(text.samples());
  if (text.samples() < options.processes.size()) {
    fail("{} processes cannot share {} of text; use more rows or fewer processes", options.processes.size(),
         counted(text.samples(), "row"));
  }
  const auto own_rows = rows(text, share.begin, share.count);
  auto weights = token_weights(passes, own_rows, options, progress);
  Stage stage(progress, name, blocks, "blocks");
  BlockRun run(exact, passes, start, own_rows, options, share.begin, std::move(weights));
  try {
    for (int index = 0; index < blocks; ++index) {
      run.run_block(index);
      stage.advance(1);
    }
    run.run_final_norm();
    note_scarce(run.scarce(), progress);
  } catch (const LostProcess&) {
    throw;
  } catch (const Error& error) {  // about a block, a linear or a norm; about a file, if a block could not be read
    const std::string what = error.what();
    if (what.starts_with(passes.origin)) throw;
    fail("{}: {}", passes.origin, what);
  }
  return run.take_result();
}

}  // namespace normtweak::pipeline
