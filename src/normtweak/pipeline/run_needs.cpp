#include "normtweak/pipeline/run_needs.h"

#include <algorithm>

namespace normtweak::pipeline {
namespace {

// Hidden states of the whole text that the layer-wise tweak keeps besides the quantized stream: the float model's
// stream, and targets that are no stream's state: a block's on the quantized stream, and those of the final norm.
int more_streams(const TweakOptions& tweak) {
  if (tweak.method != TweakMethod::layerwise) return 0;
  const auto& layerwise = tweak.layerwise;
  return int{wants_float_stream(layerwise)} + int{!layerwise.float_stream || layerwise.final_norm};
}

// In tokens, of all texts that pass through the model.
std::int64_t longest_row(const TextSize& text, const ExternalTokens& external) {
  auto longest = text.row_tokens;
  for (const auto& scored : external.texts) longest = std::max(longest, scored.longest_row());
  return longest;
}

// What the text and the tweak ask for, in either command.
RunNeeds common_needs(const TweakOptions& tweak, const TextSize& text, const ExternalTokens& external,
                      const TunableCounts& counts) {
  const bool end_to_end = tweak.method == TweakMethod::end_to_end, layerwise = tweak.method == TweakMethod::layerwise;
  return {.calibration_tokens = text.tokens(),
          .row_tokens = longest_row(text, external),
          .written_row_tokens = text.row_tokens,
          .more_streams = more_streams(tweak),
          .gradient_row_tokens = end_to_end ? text.row_tokens : 0,
          .layerwise_tokens = layerwise ? std::min(tweak.layerwise.rows_per_step, text.rows) * text.row_tokens : 0,
          .tuned_floats = tuned_floats(counts, tweak)};
}

}  // namespace

RunNeeds needs_to_quantize(const quantize::QuantizationPlan& plan, const std::vector<PlannedLinear>& linears,
                           const TweakOptions& tweak, const TextSize& text, const ExternalTokens& external,
                           const TunableCounts& counts) {
  auto needs = common_needs(tweak, text, external, counts);
  needs.quantized = size_in_memory(linears);
  needs.corrects_drift = plan.drift_correction > 0;
  needs.sweeps = wants_sweeps(linears);
  if (wants_learned_rounding(linears)) {
    needs.learns_rounding = true;
    needs.more_streams += 1;  // the float block's output
    needs.layerwise_tokens = std::max(needs.layerwise_tokens, text.row_tokens);
  }
  if (tweak.method == TweakMethod::end_to_end && tweak.end_to_end.codes) {
    const auto batch_rows = tweak.end_to_end.batch_rows;
    const auto& codes = *tweak.end_to_end.codes;
    const auto most = tweak::most_step_tokens(tweak.end_to_end, linear_weights(linears));
    needs.learned_code_bytes = learned_codes(linears, codes).weights * tweak::position_bytes(codes);
    needs.step_tokens = batch_rows > 0 ? std::min(batch_rows, text.rows) * text.row_tokens
                                       : std::min(std::max(most, text.row_tokens), text.tokens());
  }
  if (plan.token_weights != quantize::TokenWeighting::none) needs.gradient_row_tokens = text.row_tokens;
  return needs;
}

RunNeeds needs_to_tweak(const model::Checkpoint& quantized, const TweakOptions& tweak, const TextSize& text,
                        const ExternalTokens& external, const TunableCounts& counts) {
  auto needs = common_needs(tweak, text, external, counts);
  needs.quantized = size_in_memory(quantized, at::kFloat);
  needs.quantized_is_loaded = true;
  needs.packed_head_bytes = packed_head_bytes(quantized);
  return needs;
}

RunNeeds with_larger_tweak(RunNeeds needs, const RunNeeds& other) {
  for (const auto need : {&RunNeeds::gradient_row_tokens, &RunNeeds::tuned_floats, &RunNeeds::learned_code_bytes,
                          &RunNeeds::step_tokens}) {
    needs.*need = std::max(needs.*need, other.*need);
  }
  return needs;
}

}  // namespace normtweak::pipeline
