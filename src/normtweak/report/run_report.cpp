#include "normtweak/report/run_report.h"

#include "normtweak/report/settings.h"

namespace normtweak::report {
namespace {

Json perplexities(const pipeline::Perplexities& found) {
  return {{"float", found.exact}, {"quantized", found.quantized}, {"tweaked", found.tweaked}, {"stderr", found.error}};
}

Json figures(const pipeline::TextFigures& text) {
  const auto& quantized = text.quantized;
  const auto& tweaked = text.tweaked;
  Json json;
  json["name"] = text.name;
  json["tokens_scored"] = text.tokens_scored;
  json["perplexity"] = perplexities(text.perplexity);
  json["perplexity"]["protocol"] = text.protocol;
  if (text.byte_perplexity) json["byte_perplexity"] = perplexities(*text.byte_perplexity);
  json["kld"] = {{"quantized", quantized.divergence.mean()},
                 {"tweaked", tweaked.divergence.mean()},
                 {"stderr", tweaked.divergence.standard_error()}};
  json["top1_agreement"] = {{"quantized", quantized.agreement.mean()}, {"tweaked", tweaked.agreement.mean()}};
  json["recovered"] = recovered_share(text.perplexity.exact, text.perplexity.quantized, text.perplexity.tweaked);
  return json;
}

// Of a tweaked state that was not kept: for whoever compares settings.
Json rejected(const pipeline::RunResult& result, const evaluate::Scores& scores) {
  const auto& held_out = result.held_out;
  return {{"state", result.rejected_state},
          {"text", held_out.name},
          {"perplexity", {{"protocol", held_out.protocol}, {"tweaked", scores.perplexity()}}},
          {"kld", {{"tweaked", scores.divergence.mean()}, {"stderr", scores.divergence.standard_error()}}},
          {"top1_agreement", {{"tweaked", scores.agreement.mean()}}}};
}

Json guard(const pipeline::RunResult& result) {
  Json json = {{"kept", result.kept},
               {"accepted", result.verdict.accepted},
               {"gain", result.verdict.gain},
               {"stderr", result.verdict.gain_error},
               {"reason", result.verdict.reason}};
  json["candidates"] = Json::array();
  if (!result.end_to_end) return json;
  if (!result.end_to_end->stopped_early.empty()) json["stopped_early"] = result.end_to_end->stopped_early;
  for (const auto& candidate : result.end_to_end->candidates) {
    json["candidates"].push_back({{"name", candidate.name}, {"kld", candidate.divergence}});
  }
  return json;
}

// The training settings chosen, with which --steps (planned_steps), --stop-after (the report's steps), --batch, --lr
// and --lr-scales reproduce the run.
Json training(const tweak::EndToEndResult& run) {
  Json json = {{"batch_rows", run.batch_rows},
               {"planned_steps", run.planned_steps},
               {"stopped", tweak::stopped_name(run.stopped)},
               {"rates", {{"norms", run.rates.norms}, {"scales", run.rates.scales}, {"zeros", run.rates.zeros}}},
               {"tokens", run.tokens},
               {"seconds", run.seconds},
               {"trials", Json::array()}};
  if (run.changed_codes) json["changed_codes"] = *run.changed_codes;
  for (const auto& trial : run.trials) {
    json["trials"].push_back({{"factor", trial.factor}, {"kld", trial.divergence}});
  }
  return json;
}

// Of each block: the loss of the layer-wise tweak or of learned rounding.
template <class Report>
Json blocks(const std::vector<Report>& reports) {
  auto json = Json::array();
  for (const auto& report : reports) {
    json.push_back({{"loss_before", report.loss_before}, {"loss_after", report.loss_after}});
  }
  return json;
}

Json transform_report(const pipeline::RunResult& result) {
  Json json = {{"blocks", Json::array()}, {"left_out", result.not_folded}};
  for (const auto& block : result.transformed) {
    Json folds = Json::array();
    for (const auto& fold : block.folds) folds.push_back({{"from", fold.from}, {"to", fold.to}, {"alpha", fold.alpha}});
    json["blocks"].push_back({{"folds", folds}, {"clipped_linears", block.clipped}});
  }
  return json;
}

Json lambada_report(const evaluate::LambadaScores& scores) {
  return {{"accuracy", scores.accuracy()},
          {"stderr", scores.correct.standard_error()},
          {"perplexity", scores.perplexity()},
          {"examples", scores.correct.count}};
}

}  // namespace

double recovered_share(double of_float, double of_quantized, double of_tweaked) {
  const double lost = of_quantized - of_float;
  return lost > 0 ? (of_quantized - of_tweaked) / lost : 0;
}

Json run_report(const pipeline::RunResult& result) {
  Json json;
  json["model"] = result.model;
  json["method"] = result.method;
  json["bits"] = result.bits;
  json["group_size"] = result.group_size;
  if (result.drift_correction) json["drift_correction"] = *result.drift_correction;
  json["bits_per_weight"] = result.bits_per_weight;
  json["samples"] = result.samples;
  json["tokens"] = result.tokens_per_sample;
  json["held_out_samples"] = result.held_out_samples;
  json["tweak"] = result.tweak_method;
  const auto held_out = figures(result.held_out);
  for (const auto* key : {"perplexity", "kld", "top1_agreement", "recovered", "tokens_scored"})
    json[key] = held_out[key];
  json["perplexity"]["text"] = result.held_out.name;
  json["evaluations"] = Json::array();
  for (const auto& text : result.external) json["evaluations"].push_back(figures(text));
  if (result.lambada) {
    json["lambada"] = {{"name", result.lambada->name},
                       {"float", lambada_report(result.lambada->exact)},
                       {"quantized", lambada_report(result.lambada->quantized)},
                       {"tweaked", lambada_report(result.lambada->tweaked)}};
  }
  json["guard"] = guard(result);
  if (result.rejected) json["rejected"] = rejected(result, *result.rejected);
  if (!result.transformed.empty()) json["transform"] = transform_report(result);
  if (!result.rounded.empty()) json["rounding"] = blocks(result.rounded);
  if (!result.blocks.empty()) json["blocks"] = blocks(result.blocks);
  json["steps"] = result.steps;
  if (result.end_to_end) {
    json["training"] = training(*result.end_to_end);
    json["step_tokens_per_second"] = static_cast<double>(result.end_to_end->tokens) / result.end_to_end->seconds;
  }
  json["settings"] = settings_report(result);
  json["output"] = {{"path", result.output.string()}, {"bytes", result.output_bytes}};
  json["readers"] = formats::readers_json(result.readers);
  json["float_bytes"] = result.float_bytes;
  json["seconds"] = result.seconds;
  return json;
}

}  // namespace normtweak::report
