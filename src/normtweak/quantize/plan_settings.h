// The settings of a linear's plan: one table from which options, rules, refusals, reports and saved plans are made.
#pragma once
#include <span>
#include <string>
#include <string_view>

#include "normtweak/base/json/json.h"
#include "normtweak/base/strings/bounds.h"
#include "normtweak/quantize/quantizers.h"

namespace normtweak::quantize {

// The values that a setting takes.
enum class ValueKind {
  name,        // of a row of another table, such as quantizers()
  on_off,      // a switch, off unless given
  method_off,  // a switch that follows from the method unless given
  choice,      // one of `choices`
  number,      // within `bounds`
};

struct PlanSetting {
  std::string_view name;    // in rules: "group"
  std::string_view option;  // "--group-size", which sets it for all linears; empty: only rules do
  ValueKind kind = ValueKind::name;
  std::string_view help = {};                    // of the option
  std::string_view choices = {};                 // of ValueKind::choice: "2,3,4"
  Bounds bounds = {.name = ""};                  // of ValueKind::number
  bool (*read_by)(const LinearPlan&) = nullptr;  // the plans that read it; null: all do
  bool of_affine_grids = false;                  // a block type decides it where a plan names one
  bool of_activations = false;                   // read where the input is rounded
  // value: as a rule or an option spells it; empty: a switch is on. Throws Error saying what is expected.
  void (*set)(LinearPlan& plan, std::string_view value) = nullptr;
  void (*copy)(LinearPlan& plan, const LinearPlan& from) = nullptr;
  Json (*value)(const LinearPlan& plan) = nullptr;  // null: left out, and follows from the method
};

std::span<const PlanSetting> plan_settings();

// Throws Error listing the names.
const PlanSetting& find_plan_setting(std::string_view name);

// The names of all settings, for help: "method, bits, group, ...".
std::string rule_keys();

// Whether `plan` reads the setting, by its method and the grid that it has.
bool reads(const LinearPlan& plan, const PlanSetting& setting);

// The plan with what its method makes of options that it leaves out.
LinearPlan with_resolved_options(const LinearPlan& plan);

// The same with the defaults of a LinearPlan in place of settings that the method does not read: equal for linears that
// are quantized alike.
LinearPlan settings_in_effect(const LinearPlan& plan);

}  // namespace normtweak::quantize
