#include "normtweak/cli/run_summary.h"

#include <fmt/format.h>

#include "normtweak/base/device/memory.h"

namespace normtweak::cli {
namespace {

// "" if codes are not learned.
std::string codes_options(const std::optional<tweak::CodeOptions>& codes) {
  if (!codes) return "";
  auto text = fmt::format(" --learn-codes --lr-codes {}", codes->rate);
  if (codes->decay > 0) text += fmt::format(" --codes-decay {}", codes->decay);
  for (const auto& pattern : codes->only) text += fmt::format(" --codes-of '{}'", pattern.text());
  return text;
}

std::string text_options(const pipeline::TweakOptions& options) {
  if (!options.fresh_text) return "";
  const auto passes = options.end_to_end.passes_per_text;
  return passes > 1 ? fmt::format(" --fresh-text --fresh-every {}", passes) : " --fresh-text";
}

// The options that reproduce the steps of this run; the rates are therefore printed with all digits.
std::string steps_line(const tweak::EndToEndResult& run, const pipeline::TweakOptions& options) {
  const auto stopped = run.stopped_early.empty() ? "" : fmt::format(" ({})", run.stopped_early);
  const auto stop = run.steps < run.planned_steps ? fmt::format(" --stop-after {}", run.steps) : "";
  const auto zeros = run.rates.zeros != run.rates.scales ? fmt::format(" --lr-zeros {}", run.rates.zeros) : "";
  return fmt::format("  steps: {} of {}{}; again with --steps {}{} --batch {} --lr {} --lr-scales {}{}{}{}\n",
                     run.steps, run.planned_steps, stopped, run.planned_steps, stop, run.batch_rows, run.rates.norms,
                     run.rates.scales, zeros, codes_options(options.end_to_end.codes), text_options(options));
}

std::string codes_line(double changed) { return fmt::format("  codes: {:.2f}% changed by learning\n", 100 * changed); }

std::string text_line(const pipeline::TextFigures& text) {
  return fmt::format("  {:<36} perplexity  float {:.2f}  quantized {:.2f}  saved {:.2f}   KLD {:.4f} -> {:.4f}\n",
                     text.name, text.perplexity.exact, text.perplexity.quantized, text.perplexity.tweaked,
                     text.quantized.divergence.mean(), text.tweaked.divergence.mean());
}

// All files of the result, tokenizer included, beside the tensors of the float model.
std::string size_line(const pipeline::RunResult& result) {
  return fmt::format("  size: {}, of {} in the float model's file\n", bytes_text(result.output_bytes),
                     bytes_text(result.float_bytes));
}

std::string rejected_line(const evaluate::Scores& scores) {
  return fmt::format("  {:<36} perplexity  {:.2f}   KLD {:.4f}\n", "the tweaked state, not kept", scores.perplexity(),
                     scores.divergence.mean());
}

}  // namespace

std::string run_summary(const pipeline::RunResult& result, const std::string& output) {
  auto summary = fmt::format("{}: {} bits, {:.3f} bits per weight, kept: {}\n", output, result.bits,
                             result.bits_per_weight, result.kept);
  summary += size_line(result);
  summary += fmt::format("  {}\n", formats::readers_line(result.readers));
  if (result.end_to_end) {
    summary += steps_line(*result.end_to_end, result.tweak);
    if (result.end_to_end->changed_codes) summary += codes_line(*result.end_to_end->changed_codes);
  }
  if (result.tweak_method != "none") summary += fmt::format("  guard: {}\n", result.verdict.reason);
  summary += text_line(result.held_out);
  if (result.rejected) summary += rejected_line(*result.rejected);
  for (const auto& text : result.external) summary += text_line(text);
  if (result.lambada) {
    const auto& found = *result.lambada;
    summary +=
        fmt::format("  {:<36} accuracy    float {:.2f}%  quantized {:.2f}%  saved {:.2f}%\n", found.name,
                    100 * found.exact.accuracy(), 100 * found.quantized.accuracy(), 100 * found.tweaked.accuracy());
  }
  return summary;
}

}  // namespace normtweak::cli
