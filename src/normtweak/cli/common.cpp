#include "normtweak/cli/common.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <fmt/ranges.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "normtweak/base/device.h"
#include "normtweak/base/error.h"
#include "normtweak/base/file.h"
#include "normtweak/base/memory.h"
#include "normtweak/base/writable.h"
#include "normtweak/calibrate/languages.h"
#include "normtweak/cli/job.h"
#include "normtweak/cli/progress_bar.h"
#include "normtweak/cli/version.h"
#include "normtweak/tweak/objectives.h"

namespace normtweak::cli {

CLI::Validator accepted_by(std::function<void(const std::string&)> parse) {
  return {[parse = std::move(parse)](const std::string& value) -> std::string {
            try {
              parse(value);
              return "";
            } catch (const Error& error) {
              return error.what();
            }
          },
          ""};
}

tweak::Budget parse_budget(const std::string& text) {
  struct Unit {
    std::string_view name;
    double seconds, tokens;
  };
  constexpr std::array<Unit, 6> kUnits = {
      {{"s", 1, 0}, {"m", 60, 0}, {"h", 3600, 0}, {"-tokens", 0, 1}, {"k-tokens", 0, 1e3}, {"M-tokens", 0, 1e6}}};
  char* end = nullptr;
  const double count = std::strtod(text.c_str(), &end);
  for (const auto& unit : kUnits) {
    if (end == text.c_str() || unit.name != end || !(count > 0) || !std::isfinite(count)) continue;
    return {.seconds = count * unit.seconds, .tokens = static_cast<std::int64_t>(count * unit.tokens)};
  }
  fail("--budget {}: a time or a number of tokens is expected, such as 90s, 5m, 1h, 500k-tokens or 2M-tokens", text);
}

void add_common(CLI::App& command, Common& common) {
  command.add_option("--json", common.json, "Write the figures to this file")->group("General");
  command.add_flag("--quiet", common.quiet, "No progress, no summary")->group("General");
  command
      .add_option("--device", common.device,
                  "cpu, cuda or cuda:N (default: a GPU if there is one; with torchrun, one for each process)")
      ->group("General");
  command
      .add_option("--dtype", common.type,
                  "Type of matrix products: f32 or bf16 (default: f32 for scores and logits; else bf16 on GPUs and "
                  "CPUs that multiply it fast)")
      ->check(CLI::IsMember({"f32", "bf16", "float32", "bfloat16"}))
      ->group("General");
  command.add_option("--seed", common.seed, "Seed of everything random")->capture_default_str()->group("General");
  command.add_option("--threads", common.threads, "CPU threads (default: all cores)")
      ->check(CLI::NonNegativeNumber)
      ->group("General");
  command
      .add_option("--memory", common.memory,
                  "The most of the device's memory to take, as 16GiB or 800MiB; what does not fit is brought from host "
                  "memory block by block (default: what is free)")
      ->check(accepted_by([](const std::string& size) { parse_bytes(size); }))
      ->group("General");
  command.add_flag("--deterministic", common.deterministic, "On a GPU: the same bytes in every run, somewhat slower")
      ->group("General");
}

pipeline::Compute start(const Common& common, bool fast, bool several) {
  if (rank_on_machine() && !several) fail("this command runs in one process; start it without torchrun");
  if (!common.json.empty()) check_file_target(common.json);
  if (common.threads > 0) at::set_num_threads(common.threads);
  pipeline::Compute compute;
  compute.device = choose_device(common.device, rank_on_machine());
  if (!common.memory.empty()) {
    compute.memory = parse_bytes(common.memory);
    limit_device_memory(compute.device, compute.memory);
  }
  if (common.deterministic) at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  if (compute.device.is_cuda()) {
    // cuDNN's attention builds a plan for every new length, which takes longer than a step of decoding.
    at::globalContext().setSDPUseCuDNN(false);
    // cuBLAS repeats itself only with a workspace of a fixed size.
    if (common.deterministic) ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);
  }
  if (!common.type.empty()) {
    compute.type = parse_float_type(common.type);
  } else if (fast && has_fast_bf16(compute.device)) {
    compute.type = at::kBFloat16;
  }
  compute.processes = connect_processes(compute.device);
  return compute;
}

std::unique_ptr<ProgressSink> progress_for(const Common& common) {
  class Quiet : public ProgressSink {
    void report(const ProgressReport&) override {}
    void note(std::string_view) override {}
  };
  if (common.quiet || !is_first_process()) return std::make_unique<Quiet>();
  return std::make_unique<ProgressBar>();
}

void finish(Json figures, const Common& common, const pipeline::Compute& compute, const std::string& summary) {
  if (!is_first_process()) return;
  if (compute.processes.size() > 1) figures["processes"] = compute.processes.size();
  figures["peak_memory_bytes"] = peak_memory_bytes(compute.device);
  figures["device"] = compute.device.str();
  figures["dtype"] = float_type_name(compute.type);
  figures["threads"] = at::get_num_threads();
  figures["seed"] = common.seed;
  figures["version"] = kVersion;
  if (!common.json.empty()) {
    write_file_atomically(common.json, [&](std::ostream& file) { file << figures.dump(2) << "\n"; });
  }
  if (!common.quiet) std::fputs(summary.c_str(), stdout);
}

void add_text_writing(CLI::App& command, TextChoice& choice) {
  auto& self = choice.source.self;
  command.add_option("--samples", self.samples, "Rows of calibration text")
      ->capture_default_str()
      ->check(CLI::PositiveNumber)
      ->group("Text");
  command.add_option("--tokens", self.tokens, "Tokens in a row")
      ->capture_default_str()
      ->check(CLI::PositiveNumber)
      ->group("Text");
  add_choice(command, "--strategy", self.strategy, "How a text starts", calibrate::strategies())->group("Text");
  command
      .add_option("--languages", choice.languages,
                  fmt::format("For strategy language, a list of: {}", fmt::join(calibrate::language_codes(), ",")))
      ->capture_default_str()
      ->group("Text");
  command.add_option("--temperature", self.sampling.temperature, "Divides the logits")
      ->capture_default_str()
      ->group("Text");
  command.add_option("--top-k", self.sampling.top_k, "Sample from the k likeliest tokens; 0: from all")
      ->capture_default_str()
      ->group("Text");
  command.add_option("--top-p", self.sampling.top_p, "Sample from the likeliest tokens with this probability together")
      ->capture_default_str()
      ->group("Text");
  command.add_option("--generate-batch", self.batch, "Rows written together; 0: as many as memory allows")
      ->capture_default_str()
      ->group("Text");
  command.add_option("--text", choice.source.real_text, "Cut the rows from this text file instead")
      ->check(CLI::ExistingFile)
      ->group("Text");
}

void add_text_source(CLI::App& command, TextChoice& choice) {
  command
      .add_option("--calibration", choice.source.ids,
                  "Token ids from `normtweak generate` (safetensors); default: the model writes them now")
      ->group("Text");
  add_text_writing(command, choice);
}

pipeline::TextSource text_source(const TextChoice& choice, const Common& common) {
  auto source = choice.source;
  source.self.seed = common.seed;
  source.self.languages = CLI::detail::split(choice.languages, ',');
  return source;
}

void add_external(CLI::App& command, ExternalChoice& choice) {
  command.add_option("--eval-text", choice.texts, "Report perplexity on this text file, too (gptq protocol)")
      ->allow_extra_args(false)
      ->group("Report");
  command.add_option("--eval-rows,--rows", choice.rows, "The same for a data set with one row a line")
      ->allow_extra_args(false)
      ->group("Report");
  command
      .add_option("--eval-lambada", choice.lambada,
                  "Report LAMBADA, too: a file of JSON lines with a key \"text\" (see eval --help)")
      ->group("Report");
  command.add_option("--context", choice.context, "Tokens in a window")->capture_default_str()->group("Report");
  command.add_option("--max-tokens", choice.max_tokens, "Only so many tokens of each text; 0: all")
      ->capture_default_str()
      ->group("Report");
  command.add_option("--max-examples", choice.max_examples, "Only so many rows of LAMBADA; 0: all")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber)
      ->group("Report");
}

pipeline::External external(const ExternalChoice& choice) {
  pipeline::External all;
  for (const auto& path : choice.rows) all.texts.push_back({path, true, choice.context, choice.max_tokens});
  for (const auto& path : choice.texts) all.texts.push_back({path, false, choice.context, choice.max_tokens});
  if (!choice.lambada.empty()) all.lambada = {.path = choice.lambada, .max_examples = choice.max_examples};
  return all;
}

void add_tweak(CLI::App& command, TweakChoice& choice, const std::string& flag, bool may_be_none) {
  std::vector<pipeline::TweakMethodName> methods;
  for (const auto& row : pipeline::kTweakMethods) {
    if (row.method != pipeline::TweakMethod::none || may_be_none) methods.push_back(row);
  }
  add_choice(command, flag, choice.method, "How to tweak", methods)->group("Tweak");
  command
      .add_option("--tune", choice.tune,
                  "Floats to tune end to end: some of norms,biases,scales,zeros,codebooks (default: norms,scales, and "
                  "zeros where the file holds floats; scales takes codebooks along)")
      ->check(accepted_by([](const std::string& list) { tweak::parse_groups(list); }))
      ->group("Tweak");
  command
      .add_option_function<std::string>(
          "--budget", [&choice](const std::string& text) { choice.budget = parse_budget(text); },
          "End-to-end: what the tweak may take, as 90s, 5m, 1h or 500k-tokens, 2M-tokens (default: 8 passes)")
      ->check(accepted_by([](const std::string& text) { parse_budget(text); }))
      ->group("Tweak");
  command.add_option("--lr", choice.rate, "Learning rate (default: end-to-end found by short trials, layerwise 1e-5)")
      ->check(CLI::PositiveNumber)
      ->group("Tweak");
  command
      .add_option("--lr-scales", choice.scale_rate, "End-to-end: of scales and codebooks, relative (default: as --lr)")
      ->check(CLI::PositiveNumber)
      ->group("Tweak");
  command
      .add_option("--lr-zeros", choice.zero_rate,
                  "End-to-end: of float zero-points, in steps of the codes (default: as --lr-scales)")
      ->check(CLI::PositiveNumber)
      ->group("Tweak");
  command.add_option("--epochs", choice.passes, "Passes over the text (default: end-to-end 8, layerwise 1)")
      ->check(CLI::PositiveNumber)
      ->group("Tweak");
  command.add_option("--steps", choice.steps, "End-to-end: exactly so many steps, whatever --budget and --epochs say")
      ->check(CLI::PositiveNumber)
      ->group("Tweak");
  command.add_option("--batch", choice.batch, "Rows in one step (default: end-to-end about 8192 tokens, layerwise 1)")
      ->check(CLI::PositiveNumber)
      ->group("Tweak");
  add_choice(command, "--loss", choice.loss, "Layerwise: what is matched", tweak::objectives())->group("Tweak");
  command.add_option("--lr-scale", choice.rate_growth, "Layerwise: block i of L learns with lr (1 + this i / L)")
      ->capture_default_str()
      ->group("Tweak");
  command
      .add_option(
          "--target", choice.target,
          "Layerwise, ridge: float-block (the float block on the quantized stream) or float-stream (the float model's "
          "own)")
      ->capture_default_str()
      ->check(CLI::IsMember({"float-block", "float-stream"}))
      ->group("Tweak");
  command.add_flag("--final-norm", choice.final_norm, "Layerwise, ridge: tweak the norm after the last block, too")
      ->group("Tweak");
  command
      .add_option("--start", choice.start, "End-to-end: begin with norms in closed form (ridge), or as they are (none)")
      ->capture_default_str()
      ->check(CLI::IsMember({"none", "ridge"}))
      ->group("Tweak");
  command
      .add_option("--ridge-lambda", choice.ridge_lambda,
                  "Ridge: pull toward the present norm, as a share of the mean diagonal of its equations")
      ->capture_default_str()
      ->check(CLI::PositiveNumber)
      ->group("Tweak");
}

pipeline::TweakOptions tweak_options(const TweakChoice& choice, const Common& common) {
  pipeline::TweakOptions options;
  for (const auto& method : pipeline::kTweakMethods) {
    if (choice.method == method.name) options.method = method.method;
  }
  auto& layerwise = options.layerwise;
  auto& end_to_end = options.end_to_end;
  if (choice.rate > 0) {
    layerwise.rate = choice.rate;
    end_to_end.norm_rate = end_to_end.scale_rate = choice.rate;
  }
  if (choice.scale_rate > 0) end_to_end.scale_rate = choice.scale_rate;
  if (choice.zero_rate > 0) end_to_end.zero_rate = choice.zero_rate;
  end_to_end.steps = choice.steps;
  end_to_end.budget = choice.budget;
  if (choice.passes > 0) layerwise.passes = end_to_end.passes = choice.passes;
  if (choice.batch > 0) layerwise.rows_per_step = end_to_end.batch_rows = choice.batch;
  if (!choice.tune.empty()) end_to_end.groups = tweak::parse_groups(choice.tune);
  layerwise.loss = choice.loss;
  layerwise.rate_growth = choice.rate_growth;
  layerwise.float_stream = choice.target == "float-stream";
  layerwise.final_norm = choice.final_norm;
  options.ridge = {
      .lambda = choice.ridge_lambda, .final_norm = layerwise.final_norm, .float_stream = layerwise.float_stream};
  options.start_with_ridge = choice.start == "ridge";
  if (options.start_with_ridge && !end_to_end.groups.contains(tweak::TunableGroup::norms)) {
    fail("--start ridge: moves the norms, which --tune {} leaves as they are", choice.tune);
  }
  end_to_end.seed = common.seed;
  return options;
}

namespace {

// What was chosen for the steps: with these options the run repeats itself.
std::string steps_line(const tweak::EndToEndResult& run) {
  const auto stopped = run.stopped_early.empty() ? "" : fmt::format(" ({})", run.stopped_early);
  return fmt::format("  steps: {} of {}{}, --batch {} --lr {:g} --lr-scales {:g}\n", run.steps, run.planned_steps,
                     stopped, run.batch_rows, run.rates.norms, run.rates.scales);
}

std::string text_line(const pipeline::TextFigures& text) {
  return fmt::format("  {:<36} perplexity  float {:.2f}  quantized {:.2f}  saved {:.2f}   KLD {:.4f} -> {:.4f}\n",
                     text.name, text.quantized.reference_perplexity(), text.quantized.perplexity(),
                     text.tweaked.perplexity(), text.quantized.divergence.mean(), text.tweaked.divergence.mean());
}

}  // namespace

std::string run_summary(const pipeline::RunResult& result, const std::string& output) {
  auto summary = fmt::format("{}: {} bits, {:.3f} bits per weight, kept: {}\n", output, result.bits,
                             result.bits_per_weight, result.kept);
  if (result.end_to_end) summary += steps_line(*result.end_to_end);
  if (!result.verdict.reason.empty()) summary += fmt::format("  guard: {}\n", result.verdict.reason);
  summary += text_line(result.held_out);
  for (const auto& text : result.external) summary += text_line(text);
  if (result.lambada) {
    const auto& found = *result.lambada;
    summary +=
        fmt::format("  {:<36} accuracy    float {:.2f}%  quantized {:.2f}%  saved {:.2f}%\n", found.name,
                    100 * found.exact.accuracy(), 100 * found.quantized.accuracy(), 100 * found.tweaked.accuracy());
  }
  return summary;
}

}  // namespace normtweak::cli
