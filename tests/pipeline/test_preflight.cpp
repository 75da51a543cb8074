#include <fmt/format.h>
#include <gtest/gtest.h>

#include <regex>

#include "normtweak/base/error.h"
#include "normtweak/pipeline/preflight.h"
#include "pipeline/llama_7b.h"

namespace normtweak::pipeline {
namespace {

// From the config alone: the model's tensors must not be read, which may take as long as a pass.
TEST(Preflight, KnowsWhetherALinearWantsAHessian) {
  struct Case {
    const char* method;
    const char* rule;  // empty: none
    bool wants;
  };
  const Case cases[] = {
      {"gptq", "", true},
      {"rtn", "", false},
      {"kmeans", "", false},
      {"kmeans", "*=sensitivity", true},
      {"rtn", "*.31.mlp.down_proj=method:gptq", true},
      {"rtn", "*.32.mlp.down_proj=method:gptq", false},
      {"gptq", "*=skip", false},
      {"gptq", "*=method:rtn", false},
  };
  const auto model = tests::llama_7b();
  for (const auto& row : cases) {
    SCOPED_TRACE(row.method + std::string(" ") + row.rule);
    quantize::QuantizationPlan plan;
    plan.standard.method = row.method;
    if (*row.rule != '\0') plan.rules.push_back(quantize::parse_rule(row.rule));
    EXPECT_EQ(wants_hessians(planned_linears(plan, model)), row.wants);
  }
}

// Empty if nothing is wrong.
template <class Call>
std::string message_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

model::Checkpoint with_sizes(std::int64_t hidden, std::int64_t intermediate) {
  auto model = tests::llama_7b();
  model.numbers.hidden = model.numbers.embedding = hidden;
  model.numbers.intermediate = intermediate;
  model.numbers.heads = model.numbers.key_value_heads = 1;
  model.numbers.head_size = hidden;
  return model;
}

void check(const quantize::QuantizationPlan& plan, const model::Checkpoint& model) {
  check_plan_for_model(plan, model, planned_linears(plan, model));
}

// Every size and every rule that a message names works when it is given.
TEST(Preflight, AdviceOnGroupSizesWorksForTheWholeModel) {
  struct Case {
    std::int64_t hidden, intermediate;
    int size;          // 0: the standard one
    const char* rule;  // empty: none
    const char* message;
  };
  const Case cases[] = {
      {64, 172, 0, "",
       "the standard sizes are 128, 64, 32 and 16; use 4 or 2, which divide all, or 0 (one scale per output "
       "channel) for all, or --rule '*.mlp.down_proj=group:0'"},
      {64, 172, 64, "",
       "group size 64 does not divide the 172 input columns of model.layers.0.mlp.down_proj; use 4 or 2"},
      {576, 1536, 128, "", "the 576 input columns of model.layers.0.self_attn.q_proj; use 96 or 64 or 48"},
      {64, 171, 64, "", "of model.layers.0.mlp.down_proj; use 0 (one scale per output channel) for all, or --rule"},
      {171, 64, 0, "", "of model.layers.0.self_attn.q_proj; the standard sizes are 128, 64, 32 and 16; use 0 (one"},
      {64, 172, 64, "*.down_proj=group:8", "group size 8 does not divide the 172 input columns"},
      {96, 80, 0, "", ""},
      {64, 172, 0, "*.down_proj=group:43", ""},
      {64, 172, 0, "*.down_proj=skip", ""},
      {64, 172, 0, "*.down_proj=method:kmeans", ""},
  };
  for (const auto& row : cases) {
    SCOPED_TRACE(fmt::format("{} {} {} {}", row.hidden, row.intermediate, row.size, row.rule));
    const auto model = with_sizes(row.hidden, row.intermediate);
    quantize::QuantizationPlan plan;
    plan.standard.method = "rtn";
    if (*row.rule != '\0') plan.rules.push_back(quantize::parse_rule(row.rule));
    const auto message = message_of([&] {
      plan.standard.group_size = row.size > 0 ? row.size : standard_group_size(plan, model);
      check(plan, model);
    });
    EXPECT_EQ(message.empty(), *row.message == '\0') << message;
    EXPECT_NE(message.find(row.message), std::string::npos) << message;
    EXPECT_LT(message.size(), 300U) << message;
    if (message.empty() || *row.rule != '\0') continue;
    const std::regex size_pattern("(\\d+)(?= or \\d|, which)"), rule_pattern("--rule '([^']*)'");
    for (std::sregex_iterator at(message.begin(), message.end(), size_pattern), end; at != end; ++at) {
      auto followed = plan;
      followed.standard.group_size = std::stoi(at->str(1));
      EXPECT_NO_THROW(check(followed, model)) << at->str(1);
    }
    auto followed = plan;
    followed.standard.group_size = 0;
    EXPECT_NO_THROW(check(followed, model));
    followed.standard.group_size = row.size;
    for (std::sregex_iterator at(message.begin(), message.end(), rule_pattern), end; at != end; ++at) {
      followed.rules.push_back(quantize::parse_rule(at->str(1)));
    }
    if (row.size == 0 && !followed.rules.empty()) followed.standard.group_size = standard_group_size(followed, model);
    if (!followed.rules.empty()) {
      EXPECT_NO_THROW(check(followed, model));
    }
  }
}

class Notes : public ProgressSink {
 public:
  void report(const ProgressReport&) override {}
  void note(std::string_view line) override { all += std::string(line) + "\n"; }
  std::string all;
};

// What --tune names is known to be there, or not, before anything is quantized.
TEST(Preflight, KnowsWhatCanBeTuned) {
  struct Case {
    const char *rule, *tune, *error, *note;  // empty: none
  };
  const Case cases[] = {
      {"*=group:128", "codebooks", "--tune codebooks: the quantized model has no such floats; it has norms, scales",
       ""},
      {"*=group:128", "zeros", "it has norms, scales; zero-points are floats only with --float-zeros", ""},
      {"*=group:128,symmetric", "zeros", "zero-points are floats only", ""},
      {"*=group:128", "biases", "--tune biases: the quantized model has no such floats", ""},
      {"*=method:kmeans", "zeros,biases", "--tune biases, zeros: the quantized model has no such floats", ""},
      {"*=group:128", "norms,biases", "", "--tune biases: the quantized model has none; it has norms, scales"},
      {"*=group:128", "norms,zeros", "", "--tune zeros: the quantized model has none"},
      {"*=group:128", "norms,scales", "", ""},
      {"*=method:kmeans", "norms,scales", "", ""},
      {"*=method:kmeans", "codebooks", "", ""},
      {"*=group:128,float-zeros", "zeros", "", ""},
      {"*.0.mlp.up_proj=method:kmeans", "codebooks", "", ""},
  };
  const auto model = tests::llama_7b();
  for (const auto& row : cases) {
    SCOPED_TRACE(std::string(row.rule) + " --tune " + row.tune);
    quantize::QuantizationPlan plan;
    plan.rules.push_back(quantize::parse_rule(row.rule));
    TweakOptions tweak;
    tweak.groups_named = true;
    tweak.end_to_end.groups = tweak::parse_groups(row.tune);
    Notes notes;
    const auto message = message_of([&] {
      check_tweak(tweak, tunable_floats(model, planned_linears(plan, model)), {128, 512}, notes);
    });
    EXPECT_EQ(message.empty(), *row.error == '\0') << message;
    EXPECT_NE(message.find(row.error), std::string::npos) << message;
    EXPECT_EQ(notes.all.empty(), *row.note == '\0') << notes.all;
    EXPECT_NE(notes.all.find(row.note), std::string::npos) << notes.all;
  }
}

TEST(Preflight, NotesWhatHasNoEffectOnTheSteps) {
  TweakOptions tweak;
  const auto notes = [&](std::int64_t steps, std::int64_t stop_after, std::int64_t batch) {
    tweak.end_to_end.steps = steps;
    tweak.end_to_end.stop_after = stop_after;
    tweak.end_to_end.batch_rows = batch;
    Notes sink;
    check_tweak(tweak, {{tweak::TunableGroup::norms, 1}}, {16, 8}, sink);
    return sink.all;
  };
  EXPECT_EQ(notes(10, 5, 4), "");
  EXPECT_EQ(notes(10, 10, 4), "--stop-after 10: has no effect on a run of 10 steps\n");
  EXPECT_EQ(notes(0, 10, 14), "--batch 14: each step takes all 13 rows that are left to tweak with\n");
  tweak.method = TweakMethod::layerwise;
  tweak.layerwise.loss = "none such";
  EXPECT_THROW(notes(0, 0, 0), Error);
}

}  // namespace
}  // namespace normtweak::pipeline
