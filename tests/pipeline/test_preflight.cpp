#include <gtest/gtest.h>

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
    EXPECT_EQ(wants_hessians(plan, model), row.wants);
  }
}

}  // namespace
}  // namespace normtweak::pipeline
