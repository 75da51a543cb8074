#include "normtweak/pipeline/unread_settings.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

#include "normtweak/base/error.h"

namespace normtweak::pipeline {
namespace {

using quantize::PlanSetting;

// What became of a setting that one source gives: the options, or a rule.
struct Fate {
  bool read = false;              // it decides something about a linear
  bool overruled = false;         // a later rule sets it for a linear that would read it
  std::set<std::string> methods;  // of the linears that it is for; empty: all stay float
};

// "gptq", "gptq to Q4_K", or "kmeans with feedback".
std::string grid_of(const quantize::LinearPlan& plan) {
  if (quantize::has_codebooks(plan) && quantize::feeds_back(plan)) return plan.method + " with feedback";
  return plan.block_type.empty() ? plan.method : plan.method + " to " + plan.block_type;
}

// The source that decides a setting of a linear: the last rule that sets it, or the options (-1).
int decided_by(const std::vector<quantize::PlanRule>& rules, const std::vector<bool>& matching,
               std::string_view setting) {
  for (auto rule = static_cast<int>(rules.size()) - 1; rule >= 0; --rule) {
    const auto index = static_cast<std::size_t>(rule);
    if (matching[index] && rules[index].sets.contains(setting)) return rule;
  }
  return -1;
}

class Settings {
 public:
  Settings(const QuantizeOptions& options, const std::vector<PlannedLinear>& linears, ProgressSink& progress)
      : options_(options), rules_(options.plan.rules), linears_(linears), progress_(progress) {
    for (const auto& linear : linears) add(linear);
  }

  void check_options() {
    const auto& standard = options_.plan.standard;
    for (const auto& setting : quantize::plan_settings()) {
      const bool is_group = setting.name == "group";
      if (is_group && standard.group_size == 0) continue;  // a codebook is one per channel, too
      const std::string option(setting.option);
      if (options_.named.contains(option)) check(-1, setting, option, is_group);
    }
    if (options_.named.contains("--drift-correction") && !wants_drift(linears_)) {
      complain("--drift-correction", with_methods(methods()), false);
    }
    if (options_.named.contains("--token-weights") && !wants_hessians(linears_)) {
      const bool may_need_them = quantize::has_codebooks(standard);
      complain("--token-weights",
               with_methods(methods()) + (may_need_them ? " without --sensitivity or --feedback" : ""), true);
    }
  }

  void check_rules() {
    for (std::size_t rule = 0; rule < rules_.size(); ++rule) {
      for (const auto& setting : quantize::plan_settings()) {
        if (!rules_[rule].sets.contains(setting.name)) continue;
        const auto what = fmt::format("--rule {}: {}", rules_[rule].text, setting.name);
        check(static_cast<int>(rule), setting, what, false);
      }
    }
  }

 private:
  void add(const PlannedLinear& linear) {
    std::vector<bool> matching;
    for (const auto& rule : rules_) matching.push_back(rule.pattern.matches(linear.shape.name));
    for (const auto& setting : quantize::plan_settings()) {
      const bool is_read = linear.plan && quantize::reads(*linear.plan, setting);
      const auto decides = decided_by(rules_, matching, setting.name);
      for (int source = -1; source < static_cast<int>(rules_.size()); ++source) {
        const auto index = static_cast<std::size_t>(source);
        if (source >= 0 && !(matching[index] && rules_[index].sets.contains(setting.name))) continue;
        auto& fate = fates_[{source, setting.name}];
        if (linear.plan) fate.methods.insert(grid_of(*linear.plan));
        fate.read |= is_read && source == decides;
        fate.overruled |= is_read && source != decides;
      }
    }
  }

  void check(int source, const PlanSetting& setting, const std::string& what, bool harmless) {
    const auto& fate = fates_[{source, setting.name}];
    if (fate.read) return;
    if (fate.overruled) {
      progress_.note(fmt::format("{}: has no effect, since {} for every linear that reads it", what,
                                 source < 0 ? "rules set it" : "a later rule sets it"));
      return;
    }
    if (fate.methods.empty()) fail_usage("{}: has no effect, since rules skip the linears that it is for", what);
    complain(what, setting.of_activations ? "without --activation-bits" : with_methods(fate.methods), harmless);
  }

  void complain(const std::string& what, const std::string& with, bool harmless) {
    if (!harmless) fail_usage("{}: has no effect {}; leave it out", what, with);
    progress_.note(fmt::format("{}: has no effect {}", what, with));
  }

  std::set<std::string> methods() const {
    std::set<std::string> all;
    for (const auto& linear : linears_) {
      if (linear.plan) all.insert(grid_of(*linear.plan));
    }
    return all;
  }

  // "with --method kmeans", perhaps "and --feedback", or with rules "on linears quantized by kmeans or rtn".
  std::string with_methods(const std::set<std::string>& methods) const {
    const auto& standard = options_.plan.standard;
    const bool option = quantize::has_codebooks(standard) && quantize::feeds_back(standard);
    if (rules_.empty()) return "with --method " + standard.method + (option ? " and --feedback" : "");
    return fmt::format("on linears quantized by {}", fmt::join(methods, " or "));
  }

  const QuantizeOptions& options_;
  const std::vector<quantize::PlanRule>& rules_;
  const std::vector<PlannedLinear>& linears_;
  ProgressSink& progress_;
  std::map<std::pair<int, std::string_view>, Fate> fates_;
};

}  // namespace

void check_settings_are_read(const QuantizeOptions& options, const std::vector<PlannedLinear>& linears,
                             ProgressSink& progress) {
  Settings settings(options, linears, progress);
  settings.check_rules();
  settings.check_options();
}

}  // namespace normtweak::pipeline
