#include <gtest/gtest.h>

#include "normtweak/base/error.h"
#include "normtweak/quantize/plan.h"

namespace normtweak::quantize {
namespace {

struct MatchCase {
  const char *pattern, *name;
  bool matches;
};

TEST(NamePattern, MatchesWholeNames) {
  const MatchCase cases[] = {
      {"*", "lm_head", true},
      {"lm_head", "lm_head", true},
      {"lm_head", "lm_head.x", false},
      {"*.down_proj", "model.layers.0.mlp.down_proj", true},
      {"*.down_proj", "model.layers.0.mlp.up_proj", false},
      {"model.layers.?.*", "model.layers.7.mlp.up_proj", true},
      {"model.layers.?.*", "model.layers.17.mlp.up_proj", false},
      {"*layers.1*proj", "model.layers.11.self_attn.q_proj", true},
      {"model.layers.0", "modelxlayersx0", false},
      {"**", "", true},
      {"?", "", false},
      {"re:.*\\.(up|gate)_proj", "model.layers.3.mlp.gate_proj", true},
      {"re:.*\\.(up|gate)_proj", "model.layers.3.mlp.down_proj", false},
      {"re:layers", "model.layers.3", false},
  };
  for (const auto& row : cases) EXPECT_EQ(NamePattern(row.pattern).matches(row.name), row.matches) << row.pattern;
}

// A block type decides what an affine grid leaves to its settings.
TEST(Plan, ABlockTypeTakesThePlaceOfAGrid) {
  QuantizationPlan plan;
  plan.rules = {parse_rule("*.down_proj=type:Q6_K,bits:3,group:32")};
  const auto down = plan.plan_for("model.layers.2.mlp.down_proj").value();
  EXPECT_EQ(down.block_type, "Q6_K");
  std::string unread;
  for (const auto& setting : plan_settings()) {
    if (!reads(down, setting)) unread += std::string(setting.name) + " ";
  }
  EXPECT_EQ(
      unread,
      "bits group symmetric float-zeros search-grid codebook-group sensitivity feedback iterations rate scale-type "
      "activation-scale activation-asymmetric ");
  EXPECT_EQ(settings_in_effect(down).bits, LinearPlan().bits);
  EXPECT_EQ(settings_in_effect(down).block_type, "Q6_K");
  EXPECT_TRUE(plan.plan_for("model.layers.2.mlp.up_proj")->block_type.empty());
  EXPECT_THROW(parse_rule("*=type:Q4_9"), Error);
  EXPECT_THROW(parse_rule("*=type"), Error);
}

TEST(Plan, RulesApplyInOrder) {
  QuantizationPlan plan;
  for (const auto* rule :
       {"*.mlp.*=bits:3,group:64,act-order", "lm_head=skip", "*.down_proj=bits:8,symmetric:true,method:rtn",
        "*=scale-type:bf16,damping:0.05,sweeps:3", "*.up_proj=float-zeros"}) {
    plan.rules.push_back(parse_rule(rule));
  }
  const auto down = plan.plan_for("model.layers.2.mlp.down_proj");
  ASSERT_TRUE(down);
  EXPECT_EQ(down->method, "rtn");
  EXPECT_EQ(down->bits, 8);
  EXPECT_EQ(down->group_size, 64);
  EXPECT_TRUE(down->symmetric);
  EXPECT_EQ(down->act_order, true);
  EXPECT_EQ(down->scale_type, at::kBFloat16);
  EXPECT_EQ(down->damping, 0.05);
  EXPECT_EQ(down->sweeps, 3);

  const auto query = plan.plan_for("model.layers.2.self_attn.q_proj");
  ASSERT_TRUE(query);
  EXPECT_EQ(query->bits, 4);
  EXPECT_EQ(query->group_size, 128);
  EXPECT_FALSE(query->symmetric || query->float_zeros);
  EXPECT_FALSE(plan.plan_for("lm_head"));
  EXPECT_TRUE(plan.plan_for("model.layers.2.mlp.up_proj")->float_zeros);
}

// What a rule or an option says is kept; the rest follows from the method that the linear has in the end.
TEST(Plan, StandardOptionsAreThoseOfTheLinearsMethod) {
  struct Case {
    const char *name, *method, *rule;
    std::optional<int> sweeps;  // given for all
    bool search_grid, act_order;
    int expected_sweeps;
  };
  const Case cases[] = {
      {"gptq", "gptq", "x=skip", {}, true, true, 2},
      {"rtn", "rtn", "x=skip", {}, false, false, 0},
      {"gptq by a rule", "rtn", "*=method:gptq", {}, true, true, 2},
      {"rtn by a rule", "gptq", "*=method:rtn", {}, false, false, 0},
      {"an option", "rtn", "*=method:gptq", 5, true, true, 5},
      {"switched off by a rule", "rtn", "*=method:gptq,search-grid:off,sweeps:0,act-order:off", {}, false, false, 0},
      {"switched on by a rule", "gptq", "*=method:rtn,search-grid", {}, true, false, 0},
      {"a rule over an option", "gptq", "*=sweeps:1", 5, true, true, 1},
  };
  for (const auto& row : cases) {
    SCOPED_TRACE(row.name);
    QuantizationPlan plan;
    plan.standard.method = row.method;
    plan.standard.sweeps = row.sweeps;
    plan.rules.push_back(parse_rule(row.rule));
    const auto found = resolved_options(*plan.plan_for("linear"));
    EXPECT_EQ(found.search_grid, row.search_grid);
    EXPECT_EQ(found.act_order, row.act_order);
    EXPECT_EQ(found.sweeps, row.expected_sweeps);
  }
}

TEST(Plan, ARegularExpressionMayHoldAnEqualsSign) {
  const auto rule = parse_rule("re:(?=.*mlp).*=bits:2");
  EXPECT_EQ(rule.pattern.text(), "re:(?=.*mlp).*");
  EXPECT_TRUE(rule.pattern.matches("a.mlp.b"));
}

struct BadRule {
  const char *text, *message;
};

TEST(Plan, SaysWhatIsWrongInARule) {
  const BadRule rules[] = {{"lm_head", "PATTERN=skip"},
                           {"lm_head=", "PATTERN=skip"},
                           {"=skip", "pattern is empty"},
                           {"*=bit:4", "is not a setting"},
                           {"*=bits:5", "5 bits"},
                           {"*=bits:four", "four: a whole number"},
                           {"*=bits:4x", "4x: a whole number"},
                           {"*=group:-1", "-1 is too small"},
                           {"*=method:magic", "rtn, gptq, signround, kmeans"},
                           {"*=symmetric:si", "'si'"},
                           {"re:(=bits:4", "regular"},
                           {"*=damping:nan", "nan: a number"},
                           {"*=scale-type:int8", "float"},
                           {"*=bits:4,,group:8", "a setting"},
                           {"*=bits", "needs a value"},
                           {"*=skip,bits:4", "skip stands alone"}};
  for (const auto& rule : rules) {
    SCOPED_TRACE(rule.text);
    try {
      parse_rule(rule.text);
      ADD_FAILURE() << "nothing thrown";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(rule.message), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find(rule.text), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace normtweak::quantize
