#include "normtweak/cli/tweak_options.h"

#include <array>
#include <cmath>
#include <cstdlib>

#include "normtweak/base/error.h"
#include "normtweak/cli/choices.h"
#include "normtweak/cli/number_checks.h"
#include "normtweak/tweak/objectives.h"

namespace normtweak::cli {
namespace {

// "90s", "5m", "1.5h", "500k-tokens", "2M-tokens". Throws Error saying what is expected.
tweak::Budget parse_budget(const std::string& text) {
  struct Unit {
    std::string_view name;
    double seconds, tokens;
  };
  constexpr std::array<Unit, 6> kUnits = {
      {{"s", 1, 0}, {"m", 60, 0}, {"h", 3600, 0}, {"-tokens", 0, 1}, {"k-tokens", 0, 1e3}, {"M-tokens", 0, 1e6}}};
  constexpr double kMostSeconds = 1e9, kMostTokens = 1e15;  // so that the number of steps cannot overflow
  char* end = nullptr;
  const double count = std::strtod(text.c_str(), &end);
  for (const auto& unit : kUnits) {
    if (end == text.c_str() || unit.name != end || !(count > 0) || !std::isfinite(count)) continue;
    const double seconds = count * unit.seconds, tokens = count * unit.tokens;
    if (seconds > kMostSeconds || tokens > kMostTokens || (unit.tokens > 0 && tokens < 1)) continue;
    return {.seconds = seconds, .tokens = static_cast<std::int64_t>(tokens)};
  }
  fail("{}: a time or a number of tokens is expected, such as 90s, 5m, 1h, 500k-tokens or 2M-tokens", text);
}

// Whether the command has the options of learned codes.
bool learns_codes(const CLI::App& command) { return command.get_option_no_throw("--learn-codes") != nullptr; }

// What the end-to-end tweak does not read because of another of its options.
void note_overruled(const CLI::App& command, const TweakChoice& choice, ProgressSink& progress) {
  if (choice.steps > 0) note_unread(command, "with --steps", {"--budget", "--epochs"}, progress);
  if (choice.tune.empty()) return;
  using tweak::TunableGroup;
  const auto groups = tweak::parse_groups(choice.tune);
  const auto with = "with --tune " + choice.tune;
  const bool norms = groups.contains(TunableGroup::norms) || groups.contains(TunableGroup::biases);
  const bool scales = groups.contains(TunableGroup::scales) || groups.contains(TunableGroup::codebooks);
  const bool zeros = groups.contains(TunableGroup::zeros);
  // --lr stands for the other two where they are not given, and --lr-scales for --lr-zeros.
  if (!norms && choice.scale_rate > 0) note_unread(command, with + " and --lr-scales", {"--lr"}, progress);
  const bool zeros_follow = zeros && choice.zero_rate == 0;
  if (!scales && !zeros_follow) note_unread(command, with, {"--lr-scales"}, progress);
  if (!zeros) note_unread(command, with, {"--lr-zeros"}, progress);
}

}  // namespace

void add_tweak(CLI::App& command, TweakChoice& choice, const std::string& flag, bool may_be_none) {
  std::vector<pipeline::TweakMethodName> methods;
  for (const auto& row : pipeline::kTweakMethods) {
    if (row.method != pipeline::TweakMethod::none || may_be_none) methods.push_back(row);
  }
  add_choice(command, flag, choice.method, "Tweak method", methods)->group(kTweakGroup);
  command
      .add_option(
          "--tune", choice.tune,
          "End-to-end: floats to tune, a list of norms,biases,scales,zeros,codebooks (default: norms,scales, and "
          "zeros if stored as floats; scales includes codebooks)")
      ->check(accepted_by([](const std::string& list) { tweak::parse_groups(list); }))
      ->group(kTweakGroup);
  command
      .add_option(
          "--budget", choice.budget,
          "End-to-end: time or token budget, such as 90s, 5m, 1h, 500k-tokens or 2M-tokens (default: by --epochs)")
      ->check(accepted_by([](const std::string& text) { parse_budget(text); }))
      ->group(kTweakGroup);
  command
      .add_option("--lr", choice.rate,
                  "Learning rate (default: end-to-end 0.005 sqrt(KL of the untouched model), clamped to [0.00025, "
                  "0.01], and in runs of 80 steps or more the best of short trials around that, a fifth of it for "
                  "norms beside scales; layerwise 1e-5, where 0 leaves the model as it is)")
      ->check(within(kNonnegative))
      ->group(kTweakGroup);
  command
      .add_option("--lr-scales", choice.scale_rate,
                  "End-to-end: relative learning rate of scales and codebooks (default: --lr)")
      ->check(within(kPositive))
      ->group(kTweakGroup);
  command
      .add_option("--lr-zeros", choice.zero_rate,
                  "End-to-end: learning rate of float zero-points, in code steps (default: --lr-scales)")
      ->check(within(kPositive))
      ->group(kTweakGroup);
  command
      .add_option("--epochs", choice.passes,
                  "Epochs over the text (default: end-to-end 8, or 2 if the blocks have 2 billion weights or more; "
                  "layerwise 1)")
      ->check(within(kPositiveCount))
      ->group(kTweakGroup);
  command
      .add_flag("--fresh-text", choice.fresh_text,
                "End-to-end: the model writes new rows for each epoch after the first (or every few: --fresh-every); "
                "best with --learn-codes, which fits a text too well that it sees often")
      ->group(kTweakGroup);
  command
      .add_option(
          "--fresh-every", choice.passes_per_text,
          "With --fresh-text: epochs for which the rows serve before new ones are written; a few, where writing "
          "takes longer than an epoch")
      ->capture_default_str()
      ->check(within(kPositiveCount))
      ->group(kTweakGroup);
  command.add_option("--steps", choice.steps, "End-to-end: exact number of steps; overrides --budget and --epochs")
      ->check(within(kPositiveCount))
      ->group(kTweakGroup);
  command
      .add_option(
          "--stop-after", choice.stop_after,
          "End-to-end: stop after this many of the planned steps; together with --steps, --batch, --lr and --lr-scales "
          "from the report of a run that stopped early, this reproduces it")
      ->check(within(kPositiveCount))
      ->group(kTweakGroup);
  command
      .add_option("--batch", choice.batch,
                  "Rows per step (default: end-to-end rows totalling 8192 to 16384 tokens, or 4096 if the blocks have "
                  "2 billion weights or more and neither --epochs nor --steps nor --budget is given; layerwise 1)")
      ->check(within(kPositiveCount))
      ->group(kTweakGroup);
  add_choice(command, "--loss", choice.loss, "Layerwise: loss", tweak::objectives())->group(kTweakGroup);
  command
      .add_option("--lr-scale", choice.rate_growth,
                  "Layerwise: growth of the rate with depth; block i of L uses lr (1 + X i / L)")
      ->capture_default_str()
      ->check(within({.name = "[-1,inf)", .least = -1}))
      ->group(kTweakGroup);
  command
      .add_option("--target", choice.target,
                  "Layerwise: match the float block on the quantized stream (float-block), or the float model's own "
                  "stream (float-stream)")
      ->capture_default_str()
      ->check(CLI::IsMember({"float-block", "float-stream"}))
      ->group(kTweakGroup);
  command.add_flag("--final-norm", choice.final_norm, "Layerwise: also tweak the norm after the last block")
      ->group(kTweakGroup);
  command
      .add_flag("--unguarded", choice.unguarded,
                "Save the tweaked state even if the held-out rows speak against it, as published methods do that have "
                "no such check (end-to-end: the best candidate that differs from the untouched state; never one whose "
                "divergence is not finite)")
      ->group(kTweakGroup);
}

void add_learned_codes(CLI::App& command, TweakChoice& choice) {
  command
      .add_flag("--learn-codes", choice.learn_codes,
                "End-to-end: also learn the codes of affine weights and of GGUF's block types, through the whole model")
      ->group(kTweakGroup);
  command
      .add_option("--lr-codes", choice.code_rate, "With --learn-codes: learning rate of code positions, in code steps")
      ->capture_default_str()
      ->check(within(kPositive))
      ->group(kTweakGroup);
  command
      .add_option(
          "--codes-decay", choice.code_decay,
          "With --learn-codes: decay of code positions toward their start, the float weights; each step takes X "
          "times its learning rate of the way back")
      ->capture_default_str()
      ->check(within(kNonnegative))
      ->group(kTweakGroup);
  command
      .add_option("--codes-of", choice.codes_of,
                  "With --learn-codes: learn only the codes of linears whose names match this pattern, as in --rule, "
                  "such as '*.down_proj' or 're:.*\\.layers\\.[0-9]\\..*'; repeatable (default: of all)")
      ->allow_extra_args(false)
      ->check(accepted_by([](const std::string& pattern) { quantize::NamePattern{pattern}; }))
      ->group(kTweakGroup);
}

void check_tweak_options(const CLI::App& command, const TweakChoice& choice, const std::string& flag,
                         ProgressSink& progress) {
  const auto method = flag + " " + choice.method, with = "with " + method;
  if (choice.method == "none") {
    auto all = options_of(command, kTweakGroup);
    std::erase(all, flag);
    return note_unread(command, with, all, progress);
  }
  if (choice.method == "layerwise") {
    if (!choice.tune.empty() && tweak::parse_groups(choice.tune) != std::set{tweak::TunableGroup::norms}) {
      fail_usage("--tune {}: {} tunes norms alone", choice.tune, method);
    }
    note_unread(command, with, {"--budget"}, progress);
    refuse_unread(command, with,
                  {"--lr-scales", "--lr-zeros", "--steps", "--stop-after", "--fresh-text", "--fresh-every"});
    if (learns_codes(command))
      refuse_unread(command, with, {"--learn-codes", "--lr-codes", "--codes-decay", "--codes-of"});
  } else {
    if (choice.rate == 0)
      fail_usage("--lr 0: {} needs a rate above 0; {} none leaves the model as it is", method, flag);
    refuse_unread(command, with, {"--loss", "--lr-scale", "--target", "--final-norm"});
    if (!choice.fresh_text) refuse_unread(command, "without --fresh-text", {"--fresh-every"});
    if (learns_codes(command) && !choice.learn_codes)
      refuse_unread(command, "without --learn-codes", {"--lr-codes", "--codes-decay", "--codes-of"});
    note_overruled(command, choice, progress);
  }
}

void note_unread_seed(const CLI::App& command, const TweakChoice& choice, const pipeline::TextSource& text,
                      const std::string& flag, ProgressSink& progress) {
  if (choice.method == "end-to-end" || (text.ids.empty() && text.real_text.empty())) return;
  const auto* source = text.ids.empty() ? "--text" : "--calibration";
  note_unread(command, fmt::format("with {} and {} {}", source, flag, choice.method), {"--seed"}, progress);
}

pipeline::TweakOptions tweak_options(const TweakChoice& choice, const Common& common) {
  pipeline::TweakOptions options;
  for (const auto& method : pipeline::kTweakMethods) {
    if (choice.method == method.name) options.method = method.method;
  }
  auto& layerwise = options.layerwise;
  auto& end_to_end = options.end_to_end;
  if (choice.rate) {
    layerwise.rate = *choice.rate;
    end_to_end.norm_rate = end_to_end.scale_rate = *choice.rate;
  }
  if (choice.scale_rate > 0) end_to_end.scale_rate = choice.scale_rate;
  if (choice.zero_rate > 0) end_to_end.zero_rate = choice.zero_rate;
  if (choice.learn_codes) {
    auto& codes = end_to_end.codes.emplace();
    codes.rate = choice.code_rate;
    codes.decay = choice.code_decay;
    for (const auto& pattern : choice.codes_of) codes.only.emplace_back(pattern);
  }
  end_to_end.steps = choice.steps;
  end_to_end.stop_after = choice.stop_after;
  if (!choice.budget.empty()) end_to_end.budget = parse_budget(choice.budget);
  if (choice.passes > 0) layerwise.passes = end_to_end.passes = choice.passes;
  if (choice.batch > 0) layerwise.rows_per_step = end_to_end.batch_rows = choice.batch;
  options.groups_named = !choice.tune.empty();
  if (options.groups_named) end_to_end.groups = tweak::parse_groups(choice.tune);
  layerwise.loss = choice.loss;
  layerwise.rate_growth = choice.rate_growth;
  layerwise.float_stream = choice.target == "float-stream";
  layerwise.final_norm = choice.final_norm;
  options.fresh_text = choice.fresh_text;
  end_to_end.passes_per_text = choice.passes_per_text;
  options.unguarded = choice.unguarded;
  end_to_end.seed = common.seed;
  return options;
}

Json tweak_settings(const TweakChoice& choice, const std::string& flag) {
  Json json = {{flag.substr(2), choice.method}};
  const auto add = [&](const char* name, auto value) {
    if (value > 0) json[name] = value;
  };
  if (choice.method == "layerwise") {
    const tweak::LayerwiseOptions standard;
    json["lr"] = choice.rate.value_or(standard.rate);
    json["lr-scale"] = choice.rate_growth;
    json["epochs"] = choice.passes > 0 ? choice.passes : standard.passes;
    json["batch"] = choice.batch > 0 ? choice.batch : standard.rows_per_step;
    json["loss"] = choice.loss;
    json["target"] = choice.target;
    json["final-norm"] = choice.final_norm;
  } else if (choice.method == "end-to-end") {
    if (!choice.tune.empty()) json["tune"] = choice.tune;
    if (!choice.budget.empty()) json["budget"] = choice.budget;
    add("lr", choice.rate.value_or(0));
    add("lr-scales", choice.scale_rate);
    add("lr-zeros", choice.zero_rate);
    if (choice.learn_codes) {
      json["learn-codes"] = true;
      json["lr-codes"] = choice.code_rate;
      add("codes-decay", choice.code_decay);
      if (!choice.codes_of.empty()) json["codes-of"] = choice.codes_of;
    }
    if (choice.fresh_text) {
      json["fresh-text"] = true;
      json["fresh-every"] = choice.passes_per_text;
    }
    add("epochs", choice.passes);
    add("steps", choice.steps);
    add("stop-after", choice.stop_after);
    add("batch", choice.batch);
  }
  if (choice.method != "none" && choice.unguarded) json["unguarded"] = true;
  return json;
}

}  // namespace normtweak::cli
