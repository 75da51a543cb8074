// How each linear is quantized: a default plan, and rules that change it for linears whose names they match.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/quantize/plan_settings.h"
#include "normtweak/quantize/quantizers.h"
#include "normtweak/quantize/token_weights.h"

namespace normtweak::quantize {

// A pattern for Hugging Face module names such as `model.layers.0.self_attn.q_proj`. It must match the entire name:
//     *.down_proj            glob: * for any characters, dots too, ? for one
//     re:.*\.(up|gate)_proj  ECMAScript regular expression
class NamePattern {
 public:
  explicit NamePattern(std::string_view text);  // throws Error if the regular expression is invalid

  bool matches(std::string_view name) const { return matches_(name); }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  std::function<bool(std::string_view)> matches_;
};

struct PlanRule {
  NamePattern pattern;
  std::function<void(LinearPlan&)> change;  // the fields that the rule sets
  bool skip = false;                        // stays float, whatever other rules say
  std::string text = {};                    // as the command line spells it
  std::set<std::string_view> sets = {};     // names of plan_settings()
};

// Reads the command line's spelling of a rule, `PATTERN=skip` or `PATTERN=KEY:VALUE,...`:
//     *.down_proj=type:Q6_K       *.down_proj=bits:8,group:32      re:.*\.0\..*=method:rtn,symmetric      lm_head=skip
// Keys: the names of plan_settings(), after the options. A switch without a value is on. Throws Error quoting the rule
// and what is wrong with it.
PlanRule parse_rule(std::string_view text);

// How many linears are quantized alike.
struct PlanShare {
  std::optional<LinearPlan> plan;  // settings in effect; nullopt: they stay float
  std::int64_t linears = 0;
};

struct QuantizationPlan {
  LinearPlan standard;
  std::vector<PlanRule> rules;  // all that match apply, in order: a later one wins where both set a field
  // Block types that a file format prescribes, by the names of linears; an empty one: it stays float. They count like a
  // rule in front of the others.
  std::map<std::string, std::string, std::less<>> block_types = {};
  TokenWeighting token_weights = TokenWeighting::none;  // in the Hessians, if a linear needs one
  double drift_correction = 0;  // share of drift.h's correction, for linears whose method takes it

  // nullopt: the linear stays float.
  std::optional<LinearPlan> plan_for(std::string_view name) const;
};

}  // namespace normtweak::quantize
