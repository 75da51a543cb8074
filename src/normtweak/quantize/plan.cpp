#include "normtweak/quantize/plan.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <regex>

#include "normtweak/base/device/device.h"
#include "normtweak/base/error.h"
#include "normtweak/quantize/block_search.h"
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
  PlanSetting setting;
  void (*set)(LinearPlan& plan, std::string_view value);
  void (*copy)(LinearPlan& plan, const LinearPlan& from);
};

// A key that sets the field `field` to what `read` makes of a value.
template <auto field, auto read>
constexpr Key key(PlanSetting setting) {
  return {.setting = setting,
          .set = [](LinearPlan& plan, std::string_view value) { plan.*field = read(value); },
          .copy = [](LinearPlan& plan, const LinearPlan& from) { plan.*field = from.*field; }};
}

std::string parse_block_type(std::string_view text) { return std::string(find_block_type(text).name); }

std::string parse_method(std::string_view text) { return std::string(find_quantizer(text).name); }

constexpr bool kAffine = true;  // PlanSetting::of_affine_grids

constexpr std::array kKeys = {
    key<&LinearPlan::method, parse_method>({"method", "--method"}),
    key<&LinearPlan::block_type, parse_block_type>({"type", "", &Quantizer::uses_groups}),
    key<&LinearPlan::bits, parse_bits>({"bits", "--bits", nullptr, kAffine}),
    key<&LinearPlan::group_size, parse_group>({"group", "--group-size", &Quantizer::uses_groups, kAffine}),
    key<&LinearPlan::symmetric, parse_switch>({"symmetric", "--symmetric", &Quantizer::uses_groups, kAffine}),
    key<&LinearPlan::float_zeros, parse_switch>({"float-zeros", "--float-zeros", &Quantizer::uses_groups, kAffine}),
    key<&LinearPlan::search_grid, parse_switch>({"search-grid", "--search-grid", &Quantizer::uses_groups, kAffine}),
    key<&LinearPlan::act_order, parse_switch>({"act-order", "--act-order", &Quantizer::needs_hessian}),
    key<&LinearPlan::sensitivity, parse_switch>({"sensitivity", "--sensitivity", &Quantizer::uses_sensitivity}),
    key<&LinearPlan::sweeps, parse_sweeps>({"sweeps", "--sweeps", &Quantizer::needs_hessian}),
    key<&LinearPlan::damping, parse_damping>({"damping", "--damping", &Quantizer::needs_hessian}),
    key<&LinearPlan::scale_type, parse_float_type>({"scale-type", "", nullptr, kAffine}),
};

const Key& find_key(std::string_view name) {
  const auto* key = std::ranges::find(kKeys, name, [](const Key& row) { return row.setting.name; });
  if (key == kKeys.end()) fail("'{}' is not a setting; there are {}, and skip alone", name, rule_keys());
  return *key;
}

// A setting as a rule spells it: NAME or NAME:VALUE.
struct Spelled {
  const Key& key;
  std::string_view value;
};

std::vector<Spelled> read_settings(std::string_view settings) {
  std::vector<Spelled> all;
  while (!settings.empty()) {
    const auto setting = settings.substr(0, settings.find(','));
    settings.remove_prefix(std::min(settings.size(), setting.size() + 1));
    const auto colon = setting.find(':');
    const auto& key = find_key(setting.substr(0, colon));
    const auto is_same = [&](const Spelled& other) { return &other.key == &key; };
    if (std::ranges::any_of(all, is_same)) fail("{} is set twice", key.setting.name);
    all.push_back({key, colon == std::string_view::npos ? std::string_view() : setting.substr(colon + 1)});
  }
  return all;
}

void apply_settings(LinearPlan& plan, std::string_view settings) {
  for (const auto& [key, value] : read_settings(settings)) key.set(plan, value);
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

std::vector<PlanSetting> plan_settings() {
  std::vector<PlanSetting> all;
  all.reserve(kKeys.size());
  for (const auto& key : kKeys) all.push_back(key.setting);
  return all;
}

bool reads(const LinearPlan& plan, const PlanSetting& setting) {
  if (setting.of_affine_grids && !plan.block_type.empty()) return false;
  return setting.read_by == nullptr || find_quantizer(plan.method).*setting.read_by;
}

LinearPlan settings_in_effect(const LinearPlan& plan) {
  auto resolved = plan;
  const auto options = resolved_options(plan);
  resolved.search_grid = options.search_grid;
  resolved.act_order = options.act_order;
  resolved.sweeps = options.sweeps;
  LinearPlan read;
  for (const auto& key : kKeys) {
    if (reads(plan, key.setting)) key.copy(read, resolved);
  }
  return read;
}

std::string rule_keys() {
  std::string names;
  for (const auto& key : kKeys) names += (names.empty() ? "" : ", ") + std::string(key.setting.name);
  return names;
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
    for (const auto& spelled : read_settings(settings)) rule.sets.insert(spelled.key.setting.name);
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
