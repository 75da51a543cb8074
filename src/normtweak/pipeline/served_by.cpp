#include "normtweak/pipeline/served_by.h"

#include <algorithm>
#include <array>
#include <optional>
#include <tuple>

#include "normtweak/base/error.h"
#include "normtweak/pipeline/preflight.h"
#include "normtweak/pipeline/result_readers.h"

namespace normtweak::pipeline {
namespace {

constexpr std::array<Server, 3> kServers = {{
    {"vllm", "vLLM", "vLLM"},
    {"transformers", "transformers of Hugging Face", "transformers"},
    {"llama.cpp", "llama.cpp and what is built on it", "llama.cpp"},
}};

// Settings in place of those chosen; what is unset stays.
struct Change {
  std::string_view format = {};
  std::optional<bool> symmetric = {};
  std::optional<int> group_size = {}, bits = {};

  int size() const {
    return static_cast<int>(!format.empty()) + static_cast<int>(symmetric.has_value()) +
           static_cast<int>(group_size.has_value()) + static_cast<int>(bits.has_value());
  }
};

bool holds_codes(std::string_view format) { return format.empty() || find_save_format(format).codes != nullptr; }

// Formats with codes before exports, then the fewest changes, and among as many those that keep the format.
std::vector<Change> changes() {
  std::vector<Change> all;
  for (const auto bits : {std::optional<int>(), std::optional(4), std::optional(8)}) {
    for (const auto group_size :
         {std::optional<int>(), std::optional(128), std::optional(64), std::optional(32), std::optional(0)}) {
      for (const auto symmetric : {std::optional<bool>(), std::optional(true)}) {
        all.push_back({{}, symmetric, group_size, bits});
        for (const auto& format : save_formats()) all.push_back({format.name, symmetric, group_size, bits});
      }
    }
  }
  std::ranges::stable_sort(all, {}, [](const Change& change) {
    return std::tuple(!holds_codes(change.format), change.size(), !change.format.empty());
  });
  return all;
}

std::string option_text(const Change& change) {
  std::string text;
  if (!change.format.empty()) text += fmt::format(" --format {}", change.format);
  if (change.symmetric) text += " --symmetric";
  if (change.group_size) text += fmt::format(" --group-size {}", *change.group_size);
  if (change.bits) text += fmt::format(" --bits {}", *change.bits);
  return text.substr(1);
}

const formats::Reader* find_reader(const std::vector<formats::Reader>& readers, std::string_view program) {
  const auto found = std::ranges::find(readers, program, &formats::Reader::program);
  return found == readers.end() ? nullptr : &*found;
}

// Whether the program opens the model with these settings.
bool is_opened(const Change& change, const QuantizeOptions& options, quantize::QuantizationPlan plan,
               const model::Checkpoint& checkpoint, std::string_view program) {
  const auto& format = find_save_format(change.format.empty() ? options.format : change.format);
  auto& standard = plan.standard;
  standard.symmetric = change.symmetric.value_or(standard.symmetric);
  if (standard.symmetric) standard.float_zeros = false;
  standard.group_size = change.group_size.value_or(standard.group_size);
  standard.bits = change.bits.value_or(standard.bits);
  standard.scale_type = scale_type_for(checkpoint.numbers.stored_type, format);
  try {
    const auto linears = planned_linears(plan, checkpoint);
    check_plan_for_model(plan, checkpoint, linears);
    check_format_holds(format, linears);
    const auto readers = readers_of_quantized(checkpoint, format, linears);
    const auto* reader = find_reader(readers, program);
    return reader != nullptr && reader->opens;
  } catch (const Error&) {  // the format or the quantizer does not take these settings
    return false;
  }
}

// `model_type` of those that vLLM does not compute in F16 (_FLOAT16_NOT_SUPPORTED_MODELS of its config/model.py).
constexpr std::array<std::string_view, 5> kNotInF16 = {"gemma2", "gemma3", "gemma3_text", "plamo2", "glm4"};

}  // namespace

std::span<const Server> servers() { return kServers; }

std::string note_on_served(const QuantizeOptions& options, const model::Checkpoint& checkpoint) {
  if (options.served_by != "vllm") return "";
  const auto stored = checkpoint.numbers.stored_type;
  const auto model_type = checkpoint.config.value("model_type", "");
  const bool lacks_f16 = stored == at::kHalf && std::ranges::find(kNotInF16, model_type) != kNotInF16.end();
  if (stored != at::kFloat && !lacks_f16) return "";
  return fmt::format(
      "vLLM computes {} in bfloat16, where the device has it; with --store-dtype bf16 the result is judged as it then "
      "runs",
      lacks_f16 ? fmt::format("a {} of float16", model_type) : std::string("a model of float32"));
}

void check_served(const QuantizeOptions& options, const quantize::QuantizationPlan& plan,
                  const model::Checkpoint& checkpoint, const std::vector<formats::Reader>& readers) {
  if (options.served_by.empty()) return;
  const auto* server = std::ranges::find(kServers, options.served_by, &Server::name);
  const auto* reader = find_reader(readers, server->program);
  if (reader != nullptr && reader->opens) return;
  const auto why = reader == nullptr || reader->note.empty() ? "" : fmt::format(": {}", reader->note);
  for (const auto& change : changes()) {
    if (change.size() == 0 || !is_opened(change, options, plan, checkpoint, server->program)) continue;
    fail("--for {}: {} does not open --format {} with these settings{}; it does with {}", server->name, server->program,
         options.format, why, option_text(change));
  }
  fail("--for {}: {} does not open --format {} with these settings{}, nor any other that this program writes",
       server->name, server->program, options.format, why);
}

}  // namespace normtweak::pipeline
