#include "normtweak/pipeline/preflight.h"

#include <fmt/ranges.h>

#include "normtweak/base/error.h"
#include "normtweak/base/file.h"
#include "normtweak/base/writable.h"
#include "normtweak/model/decoder.h"
#include "normtweak/pipeline/save_checkpoint.h"

namespace normtweak::pipeline {
namespace fs = std::filesystem;
namespace {

// A rule that matches no linear is probably a typo. `lm_head=skip` is accepted, since the head is never quantized.
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

void check_replaceable(const fs::path& folder, const fs::path& output) {
  auto foreign = foreign_entries(folder);
  if (foreign.empty()) return;
  constexpr std::size_t kNamed = 3;
  const auto more = foreign.size() > kNamed ? fmt::format(" and {} more", foreign.size() - kNamed) : "";
  foreign.resize(std::min(foreign.size(), kNamed));
  fail("{}: would be replaced as a whole, with {}{}, which no earlier run saved; name another output, or remove it",
       output.string(), fmt::join(foreign, ", "), more);
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

int standard_group_size(const model::Checkpoint& checkpoint) {
  constexpr int kMost = 128, kLeast = 16;
  const auto divides_all = [&](int size) {
    for (int block = 0; block < checkpoint.numbers.layers; ++block) {
      for (const auto& linear : linear_shapes(checkpoint, block)) {
        if (linear.in % size != 0) return false;
      }
    }
    return true;
  };
  for (int size = kMost; size >= kLeast; size /= 2) {
    if (divides_all(size)) return size;
  }
  return kMost;
}

std::vector<fs::path> inputs(std::initializer_list<const model::Checkpoint*> models, const TextSource& text,
                             const External& external) {
  std::vector<fs::path> all = {text.ids, text.real_text};
  for (const auto* model : models) {
    all.emplace_back(model->path);
    if (!fs::is_directory(model->path)) continue;
    for (const auto& entry : fs::directory_iterator(model->path)) all.push_back(entry.path());  // may be symlinks
  }
  for (const auto& reported : external.texts) all.push_back(reported.path);
  if (external.lambada) all.push_back(external.lambada->path);
  std::erase(all, fs::path());
  return all;
}

bool wants_hessians(const quantize::QuantizationPlan& plan, const model::Checkpoint& checkpoint) {
  for (int block = 0; block < checkpoint.numbers.layers; ++block) {
    for (const auto& linear : linear_shapes(checkpoint, block)) {
      const auto linear_plan = plan.plan_for(linear.name);
      if (linear_plan && quantize::needs_hessian(*linear_plan)) return true;
    }
  }
  return false;
}

void check_output(const fs::path& output, const std::vector<fs::path>& inputs, std::int64_t bytes) {
  check_folder_target(output);
  const auto place = place_of(output);
  for (const auto& input : inputs) {
    if (!lies_in(place, fs::weakly_canonical(input))) continue;
    fail_usage("{}: would be replaced as a whole, with {}, which this run reads; name another output", output.string(),
               input.string());
  }
  if (fs::is_directory(place)) check_replaceable(place, output);
  check_room(output, bytes);
}

void note_missing_tokenizer(const model::Checkpoint& checkpoint, ProgressSink& progress) {
  if (checkpoint.tokenizer_problem.empty()) return;
  progress.note(fmt::format("{}; the result is saved without a tokenizer", checkpoint.tokenizer_problem));
}

}  // namespace normtweak::pipeline
