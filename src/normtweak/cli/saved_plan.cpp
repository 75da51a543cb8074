#include "normtweak/cli/saved_plan.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <set>

#include "normtweak/base/device/device.h"
#include "normtweak/base/error.h"
#include "normtweak/cli/flag_defaults.h"
#include "normtweak/cli/version.h"
#include "normtweak/pipeline/model_fingerprint.h"
#include "normtweak/pipeline/planned_linears.h"

namespace normtweak::cli {
namespace {

constexpr int kLayout = 1;  // of the file

// Options that are no settings: what a run reads and writes, and where.
constexpr std::array<std::string_view, 12> kNoSettings = {
    "help", "output", "preset", "plan", "save-plan", "print-plan", "json", "quiet", "device", "memory", "threads", "o"};

std::string full_path(const std::filesystem::path& path) { return std::filesystem::absolute(path).lexically_normal(); }

// The value that stands for all linears that read the setting: that of the plan, or, where it is left out, what follows
// from the method if it is one for all of them. Null: there is none.
Json value_for_all(const quantize::PlanSetting& setting, const pipeline::PreparedQuantize& prepared) {
  const auto given = setting.value(prepared.planned.plan.standard);
  std::set<Json> values;
  for (const auto& share : prepared.result.plan_shares) {
    if (!share.plan || !quantize::reads(*share.plan, setting)) continue;
    values.insert(given.is_null() ? setting.value(quantize::with_resolved_options(*share.plan)) : given);
  }
  return values.size() == 1 ? *values.begin() : Json();
}

void add_linears(Json& settings, const pipeline::PreparedQuantize& prepared) {
  const auto& plan = prepared.planned.plan;
  for (const auto& setting : quantize::plan_settings()) {
    if (setting.option.empty()) continue;
    const auto value = value_for_all(setting, prepared);
    if (!value.is_null()) settings[std::string(setting.option.substr(2))] = value;
  }
  const auto& linears = prepared.planned.linears;
  if (pipeline::wants_drift(linears)) settings["drift-correction"] = plan.drift_correction;
  if (pipeline::wants_hessians(linears)) {
    settings["token-weights"] = plan.token_weights == quantize::TokenWeighting::fisher ? "fisher" : "none";
  }
  for (const auto& rule : plan.rules) settings["rule"].push_back(rule.text);
}

void add_text(Json& settings, const TextChoice& choice, const pipeline::PreparedQuantize& prepared) {
  const auto& source = prepared.options.text;
  if (!source.ids.empty()) {
    settings["calibration"] = full_path(source.ids);
    return;
  }
  settings["samples"] = prepared.calibration.size.rows;
  settings["tokens"] = prepared.calibration.size.row_tokens;
  if (!source.real_text.empty()) {
    settings["text"] = full_path(source.real_text);
    return;
  }
  const auto& self = source.self;
  if (!self.strategy.empty()) settings["strategy"] = self.strategy;
  if (self.strategy.empty() || self.strategy == "language") settings["languages"] = choice.languages;
  if (self.strategy == "random-tokens") return;
  settings["temperature"] = self.sampling.temperature;
  settings["top-k"] = self.sampling.top_k;
  settings["top-p"] = self.sampling.top_p;
  settings["generate-batch"] = self.batch;
}

void add_reported(Json& settings, const ExternalChoice& choice) {
  for (const auto& path : choice.texts) settings["eval-text"].push_back(full_path(path));
  for (const auto& path : choice.rows) settings["eval-rows"].push_back(full_path(path));
  if (!choice.texts.empty() || !choice.rows.empty()) {
    settings["protocol"] = choice.windows.protocol;
    settings["max-tokens"] = choice.windows.max_tokens;
    if (choice.windows.context > 0) settings["context"] = choice.windows.context;
  }
  if (choice.lambada.empty()) return;
  settings["eval-lambada"] = full_path(choice.lambada);
  settings["max-examples"] = choice.max_examples;
}

std::string text_of(const Json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

// As flags that the command has.
std::vector<FlagValues> flags_of(const Json& settings, const CLI::App& command, const std::string& path) {
  std::vector<FlagValues> flags;
  for (const auto& [name, value] : settings.items()) {
    const bool is_setting = std::ranges::find(kNoSettings, name) == kNoSettings.end() &&
                            command.get_option_no_throw("--" + name) != nullptr;
    if (!is_setting) fail("{}: settings.{} is not known; see `normtweak {} --help`", path, name, command.get_name());
    FlagValues flag = {.name = "--" + name, .values = {}};
    if (value.is_object() || value.is_null()) fail("{}: settings.{}: {} is no value", path, name, show(value));
    if (value.is_array()) {
      for (const auto& one : value) flag.values.push_back(text_of(one));
    } else {
      flag.values.push_back(text_of(value));
    }
    flags.push_back(flag);
  }
  return flags;
}

Json read_plan(const std::string& path) {
  const auto plan = read_json(path);
  if (!plan.is_object() || !plan.contains("plan") || !plan.contains("settings") || !plan["settings"].is_object()) {
    fail("{}: is no plan; --save-plan writes one", path);
  }
  if (plan["plan"] != kLayout)
    fail("{}: a plan of layout {}, and this program reads {}", path, show(plan["plan"]), kLayout);
  for (const auto& [key, value] : plan.items()) {
    constexpr std::array<std::string_view, 5> kKeys = {"plan", "version", "preset", "model", "settings"};
    if (std::ranges::find(kKeys, key) == kKeys.end()) fail("{}: {} is not known in a plan", path, key);
  }
  return plan;
}

}  // namespace

Json plan_of(const QuantizeChoice& choice, const pipeline::PreparedQuantize& prepared, const Json& preset) {
  Json plan = {{"plan", kLayout}, {"version", kVersion}};
  if (!preset.is_null()) plan["preset"] = preset;
  plan["model"] = pipeline::model_fingerprint(prepared.original);
  Json settings = {{"format", choice.format}};
  if (!choice.gguf_type.empty()) settings["gguf-type"] = choice.gguf_type;
  if (!choice.served_by.empty()) settings["for"] = choice.served_by;
  if (!choice.store_type.empty()) settings["store-dtype"] = choice.store_type;
  add_linears(settings, prepared);
  settings.update(transform_settings(prepared.options.transform));
  settings.update(tweak_settings(choice.tweak, "--tweak"));
  add_text(settings, choice.text, prepared);
  add_reported(settings, choice.external);
  settings["seed"] = choice.common.seed;
  settings["dtype"] = float_type_name(prepared.options.compute.type);
  if (choice.common.deterministic) settings["deterministic"] = true;
  plan["settings"] = settings;
  return plan;
}

void set_plan(CLI::App& command, const std::string& path, const std::string& model, ProgressSink& progress) {
  const auto plan = read_plan(path);
  const auto flags = flags_of(plan["settings"], command, path);
  const auto checkpoint = model::open_checkpoint(model);
  const auto earlier = plan.value("model", Json::object());
  if (const auto difference = pipeline::fingerprint_difference(earlier, pipeline::model_fingerprint(checkpoint));
      !difference.empty()) {
    fail("{}: was made for another model than {}: {}", path, model, difference);
  }
  const auto defaults = set_defaults(command, flags, "--plan " + path);
  if (!defaults.overruled.empty()) {
    progress.note(fmt::format("--plan {}: not {}, given otherwise", path, flags_text(defaults.overruled)));
  }
}

}  // namespace normtweak::cli
