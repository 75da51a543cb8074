#include "normtweak/pipeline/preflight.h"

#include <algorithm>

#include "normtweak/base/error.h"
#include "normtweak/base/writable.h"
#include "normtweak/model/decoder.h"

namespace normtweak::pipeline {
namespace fs = std::filesystem;
namespace {

// A rule that changes nothing is a slip of the pen; only `lm_head=skip` says what is so anyway.
void check_rules(const quantize::QuantizationPlan& plan, const model::Checkpoint& checkpoint) {
  for (const auto& rule : plan.rules) {
    bool matches = rule.skip && rule.pattern.matches(checkpoint.family->names.head);
    std::string example;
    for (int block = 0; block < checkpoint.numbers.layers && !matches; ++block) {
      for (const auto& linear : linear_shapes(checkpoint, block)) {
        matches = matches || rule.pattern.matches(linear.name);
        example = linear.name;
      }
    }
    if (!matches) {
      fail("--rule {}: matches no linear of {}; their names are like {}", rule.pattern.text(), checkpoint.path,
           example);
    }
  }
}

}  // namespace

void check_plan_for_model(const quantize::QuantizationPlan& plan, const model::Checkpoint& checkpoint) {
  check_rules(plan, checkpoint);
  bool any = false;
  for (int block = 0; block < checkpoint.numbers.layers; ++block) {
    for (const auto& linear : linear_shapes(checkpoint, block)) {
      const auto linear_plan = plan.plan_for(linear.name);
      if (!linear_plan) continue;
      quantize::check_plan(*linear_plan, {linear.out, linear.in}, linear.name);
      any = true;
    }
  }
  if (!any) fail("{}: the rules skip every linear, so there is nothing to quantize", checkpoint.path);
}

void check_not_replaced(const model::Checkpoint& read, const fs::path& output) {
  const auto model = fs::weakly_canonical(read.path), replaced = fs::weakly_canonical(output);
  if (std::ranges::mismatch(replaced, model).in1 != replaced.end()) return;
  fail("{}: holds the float model {}, which would be replaced; name another output", output.string(), read.path);
}

void check_output(const fs::path& output, const model::Checkpoint& checkpoint) {
  check_folder_target(output);
  if (fs::is_directory(output) && !fs::is_empty(output) && !fs::exists(output / "config.json")) {
    fail("{}: holds files and no model; it would be replaced as a whole, so name another output", output.string());
  }
  check_room(output, estimated_bytes(checkpoint));
}

void note_missing_tokenizer(const model::Checkpoint& checkpoint, ProgressSink& progress) {
  if (checkpoint.tokenizer_problem.empty()) return;
  progress.note(fmt::format("{}; the result is saved without a tokenizer", checkpoint.tokenizer_problem));
}

}  // namespace normtweak::pipeline
