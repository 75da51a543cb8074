#include "normtweak/quantize/plan.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <regex>

#include "normtweak/base/device.h"
#include "normtweak/base/error.h"
#include "normtweak/quantize/checks.h"

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

template <class Number>
Number parse_number(std::string_view text) {
  Number number = {};
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (status != std::errc() || end != text.data() + text.size()) fail("'{}' is not a number of the kind needed", text);
  return number;
}

bool parse_switch(std::string_view text) {
  if (text.empty() || text == "true" || text == "on" || text == "1") return true;
  if (text == "false" || text == "off" || text == "0") return false;
  fail("'{}' is neither true nor false", text);
}

int parse_bits(std::string_view text) {
  const auto bits = parse_number<int>(text);
  check_bits(bits);
  return bits;
}

int parse_group(std::string_view text) {
  const auto group = parse_number<int>(text);
  if (group < 0) fail("a group size is 0 (one scale per output channel) or more");
  return group;
}

double parse_damping(std::string_view text) {
  const auto damping = parse_number<double>(text);
  const bool is_share = damping >= 0 && damping <= 1;  // false for NaN
  if (!is_share) fail("damping is a share between 0 and 1");
  return damping;
}

int parse_sweeps(std::string_view text) {
  const auto sweeps = parse_number<int>(text);
  if (sweeps < 0) fail("sweeps are 0 or more");
  return sweeps;
}

struct Key {
  std::string_view name;
  void (*set)(LinearPlan& plan, std::string_view value);
};

constexpr std::array kKeys = {
    Key{"method", [](LinearPlan& plan, std::string_view value) { plan.method = find_quantizer(value).name; }},
    Key{"bits", [](LinearPlan& plan, std::string_view value) { plan.bits = parse_bits(value); }},
    Key{"group", [](LinearPlan& plan, std::string_view value) { plan.group_size = parse_group(value); }},
    Key{"symmetric", [](LinearPlan& plan, std::string_view value) { plan.symmetric = parse_switch(value); }},
    Key{"float-zeros", [](LinearPlan& plan, std::string_view value) { plan.float_zeros = parse_switch(value); }},
    Key{"search-grid", [](LinearPlan& plan, std::string_view value) { plan.search_grid = parse_switch(value); }},
    Key{"act-order", [](LinearPlan& plan, std::string_view value) { plan.act_order = parse_switch(value); }},
    Key{"sensitivity", [](LinearPlan& plan, std::string_view value) { plan.sensitivity = parse_switch(value); }},
    Key{"sweeps", [](LinearPlan& plan, std::string_view value) { plan.sweeps = parse_sweeps(value); }},
    Key{"damping", [](LinearPlan& plan, std::string_view value) { plan.damping = parse_damping(value); }},
    Key{"scale-type", [](LinearPlan& plan, std::string_view value) { plan.scale_type = parse_float_type(value); }},
};

const Key& find_key(std::string_view name) {
  const auto* key = std::ranges::find(kKeys, name, &Key::name);
  if (key == kKeys.end()) fail("'{}' is not a setting; there are {}, and skip alone", name, rule_keys());
  return *key;
}

void apply_settings(LinearPlan& plan, std::string_view settings) {
  while (!settings.empty()) {
    const auto setting = settings.substr(0, settings.find(','));
    settings.remove_prefix(std::min(settings.size(), setting.size() + 1));
    const auto colon = setting.find(':');
    const auto value = colon == std::string_view::npos ? std::string_view() : setting.substr(colon + 1);
    find_key(setting.substr(0, colon)).set(plan, value);
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

std::string rule_keys() {
  std::string names;
  for (const auto& key : kKeys) names += (names.empty() ? "" : ", ") + std::string(key.name);
  return names;
}

PlanRule parse_rule(std::string_view text) {
  const auto equals = text.rfind('=');  // a regular expression may contain '='
  try {
    if (equals == std::string_view::npos || equals + 1 == text.size())
      fail("write PATTERN=skip or PATTERN=bits:8,group:32");
    const NamePattern pattern(text.substr(0, equals));
    const std::string settings(text.substr(equals + 1));
    if (settings == "skip")
      return {.pattern = pattern, .change = [](LinearPlan&) {}, .skip = true, .text = std::string(text)};
    LinearPlan trial;
    apply_settings(trial, settings);  // so that errors show now, not at the first linear that matches
    return {.pattern = pattern,
            .change = [settings](LinearPlan& plan) { apply_settings(plan, settings); },
            .text = std::string(text)};
  } catch (const Error& error) {
    fail("rule '{}': {}", text, error.what());
  }
}

std::optional<LinearPlan> QuantizationPlan::plan_for(std::string_view name) const {
  auto plan = standard;
  for (const auto& rule : rules) {
    if (!rule.pattern.matches(name)) continue;
    if (rule.skip) return std::nullopt;
    rule.change(plan);
  }
  return plan;
}

}  // namespace normtweak::quantize
