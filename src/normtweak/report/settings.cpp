#include "normtweak/report/settings.h"

#include <algorithm>
#include <set>
#include <string>

#include "normtweak/base/device/device.h"

namespace normtweak::report {
namespace {

// "group_size" for --group-size.
std::string key_of(const quantize::PlanSetting& setting) {
  std::string key(setting.option.empty() ? setting.name : setting.option.substr(2));
  std::ranges::replace(key, '-', '_');
  return key;
}

Json linear_report(const quantize::LinearPlan& plan) {
  Json json;
  for (const auto& setting : quantize::plan_settings()) {
    json[key_of(setting)] = setting.value(quantize::with_resolved_options(plan));
  }
  if (plan.block_type.empty()) json.erase("type");
  return json;
}

// What so many linears have in common, without what their method does not read.
Json share_report(const quantize::PlanShare& share) {
  Json settings = {{"skip", true}};
  if (share.plan) {
    settings = linear_report(*share.plan);
    for (const auto& setting : quantize::plan_settings()) {
      if (!quantize::reads(*share.plan, setting)) settings.erase(key_of(setting));
    }
  }
  return {{"settings", settings}, {"linears", share.linears}};
}

Json plan_report(const quantize::QuantizationPlan& plan, const std::vector<quantize::PlanShare>& shares) {
  auto json = linear_report(plan.standard);
  json["token_weights"] = plan.token_weights == quantize::TokenWeighting::fisher ? "fisher" : "none";
  json["drift_correction"] = plan.drift_correction;
  json["rules"] = Json::array();
  for (const auto& rule : plan.rules) json["rules"].push_back(rule.text);
  json["plans"] = Json::array();
  for (const auto& share : shares) json["plans"].push_back(share_report(share));
  return json;
}

Json transform_report(const transform::TransformOptions& options) {
  Json json = {{"name", options.name}};
  const auto& option = transform::find_transform(options.name).option;
  if (option == "--smooth-alpha") json["smooth_alpha"] = options.alpha ? Json(*options.alpha) : Json("search");
  if (option == "--awq-clip") json["awq_clip"] = options.clip;
  return json;
}

Json layerwise_report(const tweak::LayerwiseOptions& options) {
  return {{"loss", options.loss},
          {"lr", options.rate},
          {"lr_scale", options.rate_growth},
          {"epochs", options.passes},
          {"batch", options.rows_per_step},
          {"target", options.float_stream ? "float-stream" : "float-block"},
          {"final_norm", options.final_norm}};
}

// The rates and the number of steps that were chosen stand in `training`.
Json end_to_end_report(const tweak::EndToEndOptions& options, const std::set<tweak::TunableGroup>& groups) {
  Json json = {{"tune", Json::array()}};
  for (const auto group : groups) json["tune"].push_back(tweak::group_name(group));
  const auto add = [&](const char* key, auto value) {
    if (value > 0) json[key] = value;
  };
  add("lr", options.norm_rate.value_or(0));
  add("lr_scales", options.scale_rate.value_or(0));
  add("lr_zeros", options.zero_rate.value_or(0));
  if (options.codes) {
    json["lr_codes"] = options.codes->rate;
    add("codes_decay", options.codes->decay);
    for (const auto& pattern : options.codes->only) json["codes_of"].push_back(pattern.text());
  }
  add("epochs", options.passes);
  add("steps", options.steps);
  add("stop_after", options.stop_after);
  add("batch", options.batch_rows);
  add("budget_seconds", options.budget.seconds);
  add("budget_tokens", options.budget.tokens);
  json["beta1"] = options.beta1;
  json["beta2"] = options.beta2;
  json["warmup_steps"] = options.warmup_steps;
  json["checks"] = options.checks;
  return json;
}

Json tweak_report(const pipeline::RunResult& result) {
  const auto& tweak = result.tweak;
  switch (tweak.method) {
    case pipeline::TweakMethod::none:
      return Json::object();
    case pipeline::TweakMethod::layerwise:
      return layerwise_report(tweak.layerwise);
    case pipeline::TweakMethod::end_to_end:
      return end_to_end_report(tweak.end_to_end,
                               result.end_to_end ? result.end_to_end->groups : tweak.end_to_end.groups);
  }
  return Json::object();
}

}  // namespace

Json settings_report(const pipeline::RunResult& result) {
  Json json;
  if (result.plan) {
    json["quantize"] = plan_report(*result.plan, result.plan_shares);
    json["transform"] = transform_report(result.transform);
  }
  json["tweak"] = tweak_report(result);
  json["tweak"]["method"] = result.tweak_method;
  if (result.tweak.fresh_text && result.end_to_end) {
    json["tweak"]["fresh_text"] = true;
    json["tweak"]["passes_per_text"] = result.tweak.end_to_end.passes_per_text;
  }
  if (result.tweak.unguarded) json["tweak"]["unguarded"] = true;
  json["text"] = result.text;
  return json;
}

}  // namespace normtweak::report
