#include "normtweak/report/evaluation_report.h"

namespace normtweak::report {
namespace {

using evaluate::Figure, evaluate::find_figure, evaluate::kModel, evaluate::kReference;
using pipeline::EvaluatedTask;

Json figure_json(const Figure& figure) {
  return {{"task", figure.task},   {"text", figure.text},   {"metric", figure.metric}, {"model", figure.model},
          {"value", figure.value}, {"error", figure.error}, {"count", figure.count}};
}

// value, or with a reference float and quantized.
void add_perplexity(Json& json, const EvaluatedTask& task) {
  const auto& figures = task.result.figures;
  const auto& protocol = task.order.text.protocol;
  const auto metric = evaluate::find_protocol(protocol).documents ? "word_perplexity" : "perplexity";
  const auto* ours = find_figure(figures, metric, kModel);
  const auto* theirs = find_figure(figures, metric, kReference);
  Json perplexity = {{"protocol", protocol}};
  if (theirs != nullptr) {
    perplexity["float"] = theirs->value;
    perplexity["quantized"] = ours->value;
  } else {
    perplexity["value"] = ours->value;
  }
  perplexity["stderr"] = ours->error;
  json["perplexity"] = perplexity;
}

void add_text(Json& json, const EvaluatedTask& task) {
  const auto& result = task.result;
  add_perplexity(json, task);
  if (const auto* divergence = find_figure(result.figures, "kld", kModel)) {
    const auto* agreement = find_figure(result.figures, "top1_agreement", kModel);
    json["kld"] = {{"mean", divergence->value}, {"stderr", divergence->error}};
    json["top1_agreement"] = agreement->value;
    json["top1_agreement_stderr"] = agreement->error;
  }
  json["tokens_scored"] = result.tokens_scored;
  json["tokens_per_second"] = static_cast<double>(result.tokens_scored) / task.seconds;
  json["context"] = result.context;
  json["windows"] = result.windows;
}

void add_lambada(Json& json, const EvaluatedTask& task) {
  const auto& figures = task.result.figures;
  const auto of = [&](std::string_view model) -> Json {
    const auto* accuracy = find_figure(figures, "acc", model);
    return {{"accuracy", accuracy->value},
            {"stderr", accuracy->error},
            {"perplexity", find_figure(figures, "perplexity", model)->value},
            {"examples", accuracy->count}};
  };
  const bool with_reference = find_figure(figures, "acc", kReference) != nullptr;
  json["lambada"] = with_reference ? Json{{"float", of(kReference)}, {"quantized", of(kModel)}} : of(kModel);
}

// Of each block, in order.
Json channels_json(const std::vector<evaluate::ChannelDrift>& blocks) {
  auto json = Json::array();
  for (const auto& block : blocks) {
    json.push_back({{"mean_shift", block.mean_shift},
                    {"variance_shift", block.variance_shift},
                    {"reference_mean", block.reference_mean},
                    {"reference_variance", block.reference_variance}});
  }
  return json;
}

}  // namespace

Json evaluation_report(const pipeline::EvaluationResult& result) {
  auto json = Json::object();
  json["model"] = result.model;
  json["figures"] = Json::array();
  double seconds = 0;
  for (const auto& task : result.tasks) {
    const auto& name = task.order.task;
    for (const auto& figure : task.result.figures) json["figures"].push_back(figure_json(figure));
    if (!task.result.channels.empty()) json["drift_channels"] = channels_json(task.result.channels);
    seconds += task.seconds;
    if (name == "perplexity") {
      add_text(json, task);
    } else if (name == "lambada_openai") {
      add_lambada(json, task);
      json["seconds"]["lambada"] = task.seconds;
    } else {
      json["seconds"][name] = task.seconds;
    }
  }
  json["seconds"]["evaluate"] = seconds;
  return json;
}

}  // namespace normtweak::report
