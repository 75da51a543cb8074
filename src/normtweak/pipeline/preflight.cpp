#include "normtweak/pipeline/preflight.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <string>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"
#include "normtweak/base/files/writable.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/model/decoder.h"
#include "normtweak/model/multimodal.h"
#include "normtweak/pipeline/saved_folder.h"
#include "normtweak/tweak/objectives.h"

namespace normtweak::pipeline {
namespace fs = std::filesystem;
namespace {

// A rule that matches no linear is probably a typo. `lm_head=skip` is accepted, since the head is never quantized.
void check_rules(const quantize::QuantizationPlan& plan, const model::Checkpoint& checkpoint) {
  for (const auto& rule : plan.rules) {
    bool matches = rule.skip && rule.pattern.matches(checkpoint.family->head.name);
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

bool groups_fit(const PlannedLinear& linear) {
  if (!linear.plan || !has_free_groups(*linear.plan)) return true;
  const auto size = linear.plan->group_size;
  return size == 0 || (size > 0 && linear.shape.in % size == 0);
}

// The largest divisors of `number`, at least 2 and at most 128, in words; empty if there is none.
std::string divisors_text(std::int64_t number) {
  constexpr std::int64_t kMost = 128;
  constexpr std::size_t kNamed = 3;
  std::vector<std::int64_t> found;
  for (auto size = std::min(kMost, number); size > 1 && found.size() < kNamed; --size) {
    if (number % size == 0) found.push_back(size);
  }
  return fmt::format("{}", fmt::join(found, " or "));
}

// Advice that works for the whole model, not only for the linear that was looked at.
[[noreturn]] void refuse_group_size(const std::vector<PlannedLinear>& linears, const PlannedLinear& stopping,
                                    std::string_view more) {
  const auto size = stopping.plan->group_size;
  std::int64_t common = 0;      // the greatest common divisor of the columns of all linears with this size
  std::set<std::string> names;  // of those that it does not divide, without the block's number
  for (const auto& linear : linears) {
    if (!linear.plan || !has_free_groups(*linear.plan)) continue;
    if (linear.plan->group_size != size) continue;
    common = std::gcd(common, linear.shape.in);
    if (groups_fit(linear)) continue;
    const auto block = fmt::format(".{}.", linear.block);
    const auto& name = linear.shape.name;
    names.insert(name.substr(std::min(name.size(), name.find(block) + block.size())));
  }
  const auto sizes = divisors_text(common);
  constexpr std::size_t kFewNames = 2;
  std::string rules;
  for (const auto& name : names) rules += fmt::format(" --rule '*.{}=group:0'", name);
  fail("group size {} does not divide the {} input columns of {}; {}use {}0 (one scale per output channel) for all{}",
       size, stopping.shape.in, stopping.shape.name, more, sizes.empty() ? "" : sizes + ", which divide all, or ",
       names.size() <= kFewNames ? ", or" + rules : "");
}

// Linears that read the same input share its range and its Hessian, and servers run them as one.
void check_shared_inputs(const std::vector<PlannedLinear>& linears) {
  std::map<std::pair<int, model::Place>, const PlannedLinear*> first;
  for (const auto& linear : linears) {
    if (!linear.plan) continue;
    const auto& other =
        *first.try_emplace({linear.block, place_of(linear.shape.role, linear.shape.expert)}, &linear).first->second;
    if (activation_settings(*linear.plan) == activation_settings(*other.plan)) continue;
    fail("{} and {} read the same input, and their plans round it differently; give them the same activation settings",
         other.shape.name, linear.shape.name);
  }
}

void check_replaceable(const fs::path& folder, const fs::path& output) {
  auto foreign = foreign_entries(folder);
  if (foreign.empty()) return;
  constexpr std::size_t kNamed = 3;
  const auto more = foreign.size() > kNamed ? fmt::format(" and {} more", foreign.size() - kNamed) : "";
  foreign.resize(std::min(foreign.size(), kNamed));
  fail(
      "{}: would be replaced as a whole, with {}{}, which have no mark of an earlier run; name another output, or "
      "remove it (a tweak keeps its input's layout, and leaves no mark where another program wrote that)",
      output.string(), fmt::join(foreign, ", "), more);
}

void check_folder(const fs::path& output, const std::vector<fs::path>& inputs) {
  check_folder_target(output);
  const auto place = resolve_output(output);
  for (const auto& input : inputs) {
    if (!lies_in(place, fs::weakly_canonical(input))) continue;
    fail_usage("{}: would be replaced as a whole, with {}, which this run reads; name another output", output.string(),
               input.string());
  }
  if (fs::is_directory(place)) check_replaceable(place, output);
}

void check_file(const fs::path& output, const std::vector<fs::path>& inputs) {
  check_file_target(output);
  const auto place = resolve_output(output);
  for (const auto& input : inputs) {
    if (place != fs::weakly_canonical(input)) continue;
    fail_usage("{}: is read by this run, and would be replaced; name another output", output.string());
  }
}

}  // namespace

void check_plan_for_model(const quantize::QuantizationPlan& plan, const model::Checkpoint& checkpoint,
                          const std::vector<PlannedLinear>& linears) {
  check_rules(plan, checkpoint);
  bool any = false;
  for (const auto& linear : linears) {
    if (!linear.plan) continue;
    if (!groups_fit(linear)) refuse_group_size(linears, linear, "");
    quantize::check_plan(*linear.plan, {linear.shape.out, linear.shape.in}, linear.shape.name);
    any = true;
  }
  if (!any) fail("{}: the rules skip every linear, so there is nothing to quantize", checkpoint.path);
  check_shared_inputs(linears);
}

namespace {

void refuse_rounded_inputs(const SaveFormat& format, const std::vector<PlannedLinear>& linears) {
  for (const auto& linear : linears) {
    if (!linear.plan || !activation_settings(*linear.plan)) continue;
    fail(
        "--activation-bits: the input of {} is rounded, which --format {} cannot say to those that read it; use "
        "--format compressed-tensors",
        linear.shape.name, format.name);
  }
}

}  // namespace

void check_format_holds(const SaveFormat& format, const std::vector<PlannedLinear>& linears) {
  if (format.codes == nullptr) return refuse_rounded_inputs(format, linears);
  const auto in_blocks = [](const PlannedLinear& linear) { return linear.plan && !linear.plan->block_type.empty(); };
  const auto stopping = std::ranges::find_if(linears, in_blocks);
  if (stopping == linears.end()) return;
  std::vector<std::string_view> others;
  for (const auto& other : save_formats()) {
    if (other.codes == nullptr) others.push_back(other.name);
  }
  fail("{}: quantized to {}, which --format {} cannot hold; use --format {}", stopping->shape.name,
       stopping->plan->block_type, format.name, fmt::join(others, " or "));
}

int standard_group_size(const quantize::QuantizationPlan& plan, const model::Checkpoint& checkpoint) {
  constexpr int kMost = 128, kLeast = 16;
  auto tried = plan;
  std::vector<PlannedLinear> linears;
  auto stopping = linears.cend();
  for (int size = kMost; size >= kLeast; size /= 2) {
    tried.standard.group_size = size;
    linears = planned_linears(tried, checkpoint);
    // Where a rule's own size is what does not fit, check_plan_for_model() says so.
    stopping = std::find_if(linears.cbegin(), linears.cend(), [&](const PlannedLinear& linear) {
      return !groups_fit(linear) && linear.plan->group_size == size;
    });
    if (stopping == linears.cend()) return size;
  }
  refuse_group_size(linears, *stopping, "the standard sizes are 128, 64, 32 and 16; ");
}

namespace {

// Rates of groups that are to be tuned and that the model lacks. --lr sets all rates, which asks for no group.
void note_unread_rates(const TunableCounts& counts, const tweak::EndToEndOptions& options, ProgressSink& progress) {
  using tweak::TunableGroup;
  const bool zeros = counts.contains(TunableGroup::zeros);
  if (options.zero_rate && options.groups.contains(TunableGroup::zeros) && !zeros) {
    progress.note("--lr-zeros: has no effect, since the model has no float zero-points");
  }
  const bool scales = counts.contains(TunableGroup::scales) || counts.contains(TunableGroup::codebooks);
  const bool follows = zeros && !options.zero_rate;  // the rate of the zero-points
  if (options.scale_rate && options.scale_rate != options.norm_rate && !scales && !follows) {
    progress.note("--lr-scales: has no effect, since the model has no scales to tune");
  }
}

// A step takes no more rows than there are.
void note_large_batch(std::int64_t batch_rows, std::int64_t train_rows, ProgressSink& progress) {
  if (batch_rows <= train_rows) return;
  progress.note(fmt::format(
      "--batch {}: each step takes {} to tweak with", batch_rows,
      train_rows == 1 ? "the only row that is left" : fmt::format("all {} rows that are left", train_rows)));
}

}  // namespace

void check_tweak(const TweakOptions& tweak, const TunableCounts& counts, const TextSize& text, ProgressSink& progress) {
  const auto train_rows = tweak::text_shares(text.rows).train;
  if (tweak.method == TweakMethod::layerwise) {
    tweak::find_objective(tweak.layerwise.loss);
    note_large_batch(tweak.layerwise.rows_per_step, train_rows, progress);
  }
  if (tweak.method != TweakMethod::end_to_end) return;
  check_tuned_groups(counts, tweak, progress);
  note_unread_rates(counts, tweak.end_to_end, progress);
  note_large_batch(tweak.end_to_end.batch_rows, train_rows, progress);
  const auto& options = tweak.end_to_end;
  if (options.steps > 0 && options.stop_after >= options.steps) {
    progress.note(fmt::format("--stop-after {}: has no effect on a run of {}", options.stop_after,
                              counted(options.steps, "step")));
  }
}

void check_learned_codes(const QuantizeOptions& options, const std::vector<PlannedLinear>& linears,
                         ProgressSink& progress) {
  if (options.tweak.method != TweakMethod::end_to_end || !options.tweak.end_to_end.codes) return;
  const auto& codes = *options.tweak.end_to_end.codes;
  if (transform::find_transform(options.transform.name).apply != nullptr) {
    fail("--learn-codes: starts from the model's own weights, which --transform {} rescales; leave out one of the two",
         options.transform.name);
  }
  for (const auto& pattern : codes.only) {
    if (learned_codes(linears, {.only = {pattern}}).linears > 0) continue;
    fail("--codes-of {}: matches no linear whose codes can be learned; names are like {}", pattern.text(),
         linears.front().shape.name);
  }
  const auto learned = learned_codes(linears, codes);
  if (learned.linears == 0) {
    fail(
        "--learn-codes: learns affine codes and those of llama.cpp's block types, and no linear has either; use "
        "--method rtn or gptq with a format that holds them, such as compressed-tensors or gguf");
  }
  if (learned.linears == learned.quantized) return;
  progress.note(
      fmt::format("--learn-codes: learns the codes of {} of {} quantized linears; those of the others, which {}, "
                  "stay as they are",
                  learned.linears, learned.quantized,
                  codes.only.empty() ? "lie on no grid" : "--codes-of leaves out or lie on no grid"));
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

void check_output(const fs::path& output, OutputKind kind, const std::vector<fs::path>& inputs, std::int64_t bytes) {
  if (output.empty()) return;
  if (kind == OutputKind::folder) {
    check_folder(output, inputs);
  } else {
    check_file(output, inputs);
  }
  check_room(output, bytes);
}

void note_missing(const model::Checkpoint& checkpoint, OutputKind output, ProgressSink& progress) {
  if (!checkpoint.tokenizer_problem.empty()) {
    progress.note(fmt::format("{}; the result is saved without a tokenizer", checkpoint.tokenizer_problem));
  }
  const auto parts = model::parts_beside(checkpoint);
  if (output == OutputKind::folder || parts.empty()) return;
  const auto* const multimodal = model::find_multimodal(checkpoint.outer_config);
  progress.note(fmt::format("{}: the .gguf file gets the language model alone, without {}; {}", checkpoint.path,
                            fmt::join(parts, ", "),
                            multimodal != nullptr && multimodal->other_in_llama_cpp
                                ? "it is for text, since llama.cpp knows positions of images by another architecture"
                                : "llama.cpp's convert_hf_to_gguf.py --mmproj makes the file for images from this "
                                  "folder"));
}

}  // namespace normtweak::pipeline
