#include "normtweak/quantize/plan.h"

#include <algorithm>
#include <regex>

#include "normtweak/base/error.h"

namespace normtweak::quantize {
namespace {

constexpr std::string_view kRegexPrefix = "re:";  // as in compressed-tensors

// Backtracks to the last star only: linear memory, and time at most the product of both lengths.
bool glob_matches(std::string_view glob, std::string_view name) {
  std::size_t at = 0, in_name = 0, star = std::string_view::npos, star_name = 0;
  while (in_name < name.size()) {
    if (at < glob.size() && glob[at] == '*') {
      star = at++;
      star_name = in_name;
    } else if (at < glob.size() && (glob[at] == '?' || glob[at] == name[in_name])) {
      ++at;
      ++in_name;
    } else if (star != std::string_view::npos) {
      at = star + 1;
      in_name = ++star_name;
    } else {
      return false;
    }
  }
  return glob.find_first_not_of('*', at) == std::string_view::npos;
}

std::regex compile(std::string_view expression) {
  constexpr std::size_t kLongest = 1000;  // std::regex is recursive, and a deep one would exhaust the stack
  if (expression.size() > kLongest) fail("a regular expression of more than {} characters is not read", kLongest);
  try {
    return std::regex(std::string(expression), std::regex::ECMAScript | std::regex::optimize);
  } catch (const std::regex_error& error) {
    fail("'{}' is not an ECMAScript regular expression: {}", expression, error.what());
  }
}

// A setting as a rule spells it: NAME or NAME:VALUE.
struct Spelled {
  const PlanSetting& setting;
  std::string_view value;
};

std::vector<Spelled> read_settings(std::string_view settings) {
  std::vector<Spelled> all;
  while (!settings.empty()) {
    const auto setting = settings.substr(0, settings.find(','));
    settings.remove_prefix(std::min(settings.size(), setting.size() + 1));
    const auto colon = setting.find(':');
    const auto& named = find_plan_setting(setting.substr(0, colon));
    const auto is_same = [&](const Spelled& other) { return &other.setting == &named; };
    if (std::ranges::any_of(all, is_same)) fail("{} is set twice", named.name);
    all.push_back({named, colon == std::string_view::npos ? std::string_view() : setting.substr(colon + 1)});
  }
  return all;
}

void apply_settings(LinearPlan& plan, std::string_view settings) {
  for (const auto& [setting, value] : read_settings(settings)) {
    // A switch alone may stand without a value.
    const bool is_switch = setting.kind == ValueKind::on_off || setting.kind == ValueKind::method_off;
    if (value.empty() && !is_switch) fail("{} needs a value, as in {}:VALUE", setting.name, setting.name);
    setting.set(plan, value);
  }
}

}  // namespace

NamePattern::NamePattern(std::string_view text) : text_(text) {
  if (text_.empty()) fail("the pattern is empty; use * for every linear");
  if (text_.starts_with(kRegexPrefix)) {
    matches_ = [expression = compile(std::string_view(text_).substr(kRegexPrefix.size()))](std::string_view name) {
      return std::regex_match(name.begin(), name.end(), expression);
    };
  } else {
    matches_ = [glob = text_](std::string_view name) { return glob_matches(glob, name); };
  }
}

PlanRule parse_rule(std::string_view text) {
  const auto equals = text.rfind('=');  // a regular expression may contain '='
  try {
    if (equals == std::string_view::npos || equals + 1 == text.size())
      fail("write PATTERN=skip or PATTERN=bits:8,group:32");
    const NamePattern pattern(text.substr(0, equals));
    const std::string settings(text.substr(equals + 1));
    PlanRule rule = {.pattern = pattern, .change = [](LinearPlan&) {}, .text = std::string(text)};
    rule.skip = settings == "skip";
    if (rule.skip) return rule;
    LinearPlan trial;
    apply_settings(trial, settings);  // so that errors show now, not at the first linear that matches
    for (const auto& spelled : read_settings(settings)) rule.sets.insert(spelled.setting.name);
    rule.change = [settings](LinearPlan& plan) { apply_settings(plan, settings); };
    return rule;
  } catch (const Error& error) {
    fail("rule '{}': {}", text, error.what());
  }
}

std::optional<LinearPlan> QuantizationPlan::plan_for(std::string_view name) const {
  auto plan = standard;
  if (const auto prescribed = block_types.find(name); prescribed != block_types.end()) {
    if (prescribed->second.empty()) return std::nullopt;
    plan.block_type = prescribed->second;
  }
  for (const auto& rule : rules) {
    if (!rule.pattern.matches(name)) continue;
    if (rule.skip) return std::nullopt;
    rule.change(plan);
  }
  return plan;
}

}  // namespace normtweak::quantize
