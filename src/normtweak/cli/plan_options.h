// How linears are quantized: an option for each setting of a plan that has one, --rule, and what all linears share.
#pragma once
#include <CLI/CLI.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "normtweak/quantize/plan.h"

namespace normtweak::cli {

struct PlanChoice {
  quantize::LinearPlan linear;
  std::set<std::string> set;  // options whose settings were given, on the command line or as a default
  std::optional<double> drift_correction;
  std::string token_weights = "none";
  std::vector<std::string> rules;
};
void add_plan(CLI::App& command, PlanChoice& choice);

// standard_drift_correction: that of a run to which the option gives none.
quantize::QuantizationPlan quantization_plan(const PlanChoice& choice, double standard_drift_correction);

// The options of the plan that the command line gives; the run says which of them have no effect.
std::set<std::string> named_plan_options(const CLI::App& command);

}  // namespace normtweak::cli
