#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <new>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "normtweak/base/device/memory.h"
#include "normtweak/base/error.h"
#include "normtweak/base/strings/library_messages.h"
#include "normtweak/base/strings/one_line.h"
#include "normtweak/cli/commands.h"
#include "normtweak/cli/general_options.h"
#include "normtweak/cli/job.h"
#include "normtweak/cli/named_files.h"
#include "normtweak/cli/shared_cpu.h"
#include "normtweak/cli/signals.h"
#include "normtweak/cli/usage.h"
#include "normtweak/cli/version.h"
#include "normtweak/model/family.h"
#include "normtweak/model/multimodal.h"

namespace normtweak::cli {
namespace {

struct Command {
  const char *name, *description;
  Job (*add)(CLI::App&);
  const char* less_memory;  // advice on using less memory
};

// To add a subcommand: its file, its line in commands.h, and its row here.
constexpr const char* kLessText = "use fewer --samples or --tokens, or --dtype bf16";
constexpr std::array<Command, 10> kCommands = {{
    {"quantize", "Quantize a float model, tweak it, evaluate it, save it", &add_quantize, kLessText},
    {"tweak", "Tweak an already quantized model; its codes stay unchanged", &add_tweak_command, kLessText},
    {"search", "Quantize with every setting of a grid, and keep the best models", &add_search, kLessText},
    {"apply", "Put what a tweak changed (tweak --patch) into a copy of the quantized file", &add_apply, ""},
    {"convert", "Write a quantized model in another format, where that loses nothing", &add_convert, ""},
    {"generate", "Generate calibration text with a model", &add_generate, kLessText},
    {"eval", "Perplexity, tasks, and KL divergence from a reference", &add_eval,
     "use a smaller --batch-rows or --context, or --dtype bf16"},
    {"logits", "Write a model's logits for given token ids", &add_logits, "give fewer rows, or use --dtype bf16"},
    {"sample", "Let models go on with the same prompt, to read them side by side", &add_sample, "use --dtype bf16"},
    {"inspect", "Show what a file or folder contains, whether it is sound, and who can load it", &add_inspect,
     "use --quick"},
}};

// "Tried to allocate 216.00 MiB", without the CUDA allocator's advice for Python programs that follows.
std::string without_advice(const std::string& what) { return what.substr(0, what.find(". GPU ")); }

// Phrases in LibTorch's messages when CUDA or malloc is out of memory.
bool tells_of_memory(const std::string& what) {
  constexpr std::array<const char*, 3> kWords = {"out of memory", "can't allocate memory", "not enough memory"};
  return std::ranges::any_of(kWords, [&](const char* words) { return what.find(words) != std::string::npos; });
}

constexpr int kFailure = 1, kUsage = 2;  // exit statuses

int fail_with(const std::string& message, int status = kFailure, bool lost = false) {
  const auto words = failure_report(message, lost);
  if (words) std::fprintf(stderr, "normtweak: %s\n", one_line(*words).c_str());
  return status;
}

int fail_usage_with(const CLI::App& app, const std::string& message) {
  const auto ending = fmt::format("; {}", where_to_look(app));
  return fail_with(one_line(message, kLongestLine - ending.size()) + ending, kUsage);
}

// What nothing in the library foresaw. The user learns at least with which file it happened.
int fail_unforeseen(const CLI::App& app, const std::exception& error, const char* less_memory) {
  const auto words = library_message(error);
  if (dynamic_cast<const std::filesystem::filesystem_error*>(&error) != nullptr) {
    return fail_with(fmt::format("{}; check this path", words));
  }
  if (tells_of_memory(words))
    return fail_with(fmt::format("out of memory; {}: {}", less_memory, without_advice(words)));
  return fail_with(fmt::format("{}: {}; if the files are sound, this is a fault of normtweak: please report it",
                               subject(app), words));
}

int show(const CLI::App& app, const CLI::Success& help_or_version) {
  std::ostringstream text;
  const auto status = app.exit(help_or_version, text, text);
  try {
    print(text.str());
  } catch (const Error& error) {
    return fail_with(error.what());
  }
  return status;
}

// In lines of the width of the help.
std::string in_lines(const std::vector<std::string_view>& names) {
  constexpr std::size_t kWidth = 110;
  std::string text;
  std::size_t line = 0;
  for (const auto name : names) {
    const auto piece = fmt::format("{}{}", text.empty() ? "" : ", ", name);
    const bool is_full = line + piece.size() > kWidth;
    text += is_full ? fmt::format(",\n{}", name) : piece;
    line = is_full ? name.size() : line + piece.size();
  }
  return text;
}

int run(int argc, char** argv) {
  std::vector<std::string_view> families, multimodal;
  for (const auto* family : model::families()) families.push_back(family->name);
  for (const auto& row : model::multimodal_models()) multimodal.push_back(row.name);
  CLI::App app(
      fmt::format(
          "Recovers quality that a language model loses in low-bit quantization, at no cost at inference:\n"
          "quantizes a model, or takes a quantized one, and tunes the floats that the file already holds.\n\n"
          "  normtweak quantize MODEL -o OUT --bits 4 --group-size 64\n"
          "  normtweak eval OUT --reference MODEL --rows wiki.test.raw\n\n"
          "MODEL is a folder in Hugging Face layout, a .gguf file, or the id of a hub model in the local\n"
          "cache. Read are safetensors, also packed by compressed-tensors, pytorch_model.bin, and GGUF in F32,\n"
          "F16, BF16, Q4_0 to Q8_0, Q2_K to Q6_K, IQ1_S to IQ4_XS, TQ1_0, TQ2_0 and MXFP4. Families of\n"
          "models:\n"
          "{}\n"
          "and the language models in models of text and images:\n"
          "{}\n\n"
          "With torchrun, several processes, one per GPU, share the work of generate, quantize and tweak:\n"
          "  torchrun --no-python --nproc-per-node 2 normtweak quantize MODEL -o OUT ...",
          in_lines(families), in_lines(multimodal)),
      "normtweak");
  app.set_version_flag("--version", kVersion);
  app.require_subcommand(1);
  Job job;
  const char* less_memory = nullptr;
  for (const auto& row : kCommands) {
    auto* command = app.add_subcommand(row.name, row.description);
    auto chosen = row.add(*command);
    command->callback([&, chosen] {
      job = chosen;
      less_memory = row.less_memory;
    });
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help_or_version) {
    return is_first_process() ? show(app, help_or_version) : 0;
  } catch (const CLI::ParseError& error) {
    return fail_usage_with(app, complaint(app, error));
  }
  try {
    restore_named(*app.get_subcommands().front());
    job();
  } catch (const LostProcess& error) {
    return fail_with(error.what(), kFailure, true);
  } catch (const UsageError& error) {
    return fail_usage_with(app, error.what());
  } catch (const Error& error) {
    return fail_with(error.what());
  } catch (const std::bad_alloc&) {
    return fail_with(fmt::format("out of memory; {}", less_memory));
  } catch (const std::exception& error) {
    return fail_unforeseen(app, error, less_memory);
  }
  return 0;
}

}  // namespace
}  // namespace normtweak::cli

int main(int argc, char** argv) {
  using namespace normtweak::cli;
  wait_passively_on_shared_cpu(argv);
  normtweak::keep_freed_memory();
  try {
    begin_job();  // blocks SIGTERM in all threads started later
    remove_temporary_paths_on_signals();
  } catch (const normtweak::Error& error) {
    return fail_with(error.what());
  } catch (const std::system_error& error) {
    return fail_with(
        fmt::format("cannot start a thread: {}; raise the limits on memory (`ulimit -v`) and processes "
                    "(`ulimit -u`)",
                    error.code().message()));
  }
  return end_job(run(argc, argv));
}
