#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>

#include "normtweak/base/device.h"
#include "normtweak/base/error.h"
#include "normtweak/base/file_kind.h"
#include "normtweak/base/finite.h"
#include "normtweak/base/one_line.h"
#include "normtweak/base/put_back.h"
#include "normtweak/cli/commands.h"
#include "normtweak/cli/general_options.h"
#include "normtweak/cli/named_files.h"
#include "normtweak/formats/compressed_tensors_config.h"
#include "normtweak/formats/safetensors.h"
#include "normtweak/model/decoder.h"
#include "normtweak/text/tokenizer.h"

namespace normtweak::cli {
namespace {

namespace fs = std::filesystem;

struct Choices {
  std::string path;
  bool quick = false;
  Common common;
};

// Findings about a model or a safetensors file.
struct Findings {  // NOLINT(bugprone-exception-escape): nlohmann declares that its moves do not throw
  Json figures;
  std::string text;
};

void count_tensors(const formats::TensorSource& tensors, Findings& findings) {
  std::map<std::string_view, std::int64_t> by_type;
  std::int64_t bytes = 0;
  for (const auto& name : tensors.names()) {
    const auto info = tensors.info(name);
    by_type[info.stored_as] += c10::multiply_integers(info.shape);
    bytes += info.stored_bytes;
  }
  findings.figures["tensors"] = tensors.names().size();
  findings.figures["tensor_bytes"] = bytes;
  findings.figures["elements_by_type"] = by_type;
  findings.text += fmt::format("  tensors: {}, {:.1f} MB;", tensors.names().size(), static_cast<double>(bytes) / 1e6);
  for (const auto& [type, count] : by_type)
    findings.text += fmt::format(" {} {:.2f} M", type, static_cast<double>(count) / 1e6);
  findings.text += "\n";
}

struct LinearKind {
  std::int64_t count = 0;
  std::vector<std::string> readers;
};

// Describes a linear with codes.
std::string describe(const formats::PackedSettings& settings) {
  return fmt::format("{} bits, {}, {}{}", settings.bits,
                     settings.kind == formats::PackedKind::codebook ? "codebook a channel"
                     : settings.group_size > 0                      ? fmt::format("groups of {}", settings.group_size)
                                                                    : "a scale a channel",
                     settings.symmetric ? "symmetric" : "asymmetric",
                     settings.kind == formats::PackedKind::float_zero_points ? ", float zero-points" : "");
}

// Whether the config says that only this program reads the checkpoint: others go by that and not by each linear.
bool is_extension(const model::Checkpoint& checkpoint) {
  return model::is_quantized(checkpoint) &&
         formats::PackedConfig(checkpoint.config.at("quantization_config"), checkpoint.path).is_extension();
}

std::vector<std::string> readers_of(const formats::PackedSettings& settings, bool extension) {
  std::vector<std::string> readers;
  for (const auto& reader : formats::packed_readers(settings, extension)) {
    readers.push_back(reader.condition.empty() ? std::string(reader.name)
                                               : fmt::format("{} ({})", reader.name, reader.condition));
  }
  return readers;
}

// Whether a tensor type of a file is plain floats, not blocks of small integers with scales.
bool is_float(std::string_view stored_as) {
  constexpr std::array<std::string_view, 4> kFloats = {"F64", "F32", "F16", "BF16"};
  return std::ranges::find(kFloats, stored_as) != kFloats.end();
}

bool is_gguf(const model::Checkpoint& checkpoint) { return !fs::is_directory(checkpoint.path); }

bool holds_blocks(const model::Checkpoint& checkpoint) {
  return is_gguf(checkpoint) && std::ranges::any_of(checkpoint.tensors->names(), [&](const std::string& name) {
           return !is_float(checkpoint.tensors->info(name).stored_as);
         });
}

// The kinds of linears in a checkpoint, and the bits that their weights take in the file.
struct Linears {
  std::map<std::string, LinearKind> kinds;
  bool extension = false;  // of the whole checkpoint
  double bits = 0, weights = 0;

  void add(const model::Linear& linear, const model::Checkpoint& checkpoint) {
    const auto shape = weights::shape(linear.weight);
    const auto count = static_cast<double>(shape[0] * shape[1]);
    std::string kind = "float";
    std::vector<std::string> readers = {"normtweak"};
    if (!extension) readers = {"transformers", "vLLM", "normtweak"};
    weights += count;
    if (weights::is_quantized(linear.weight)) {
      const auto settings = formats::packed_settings(linear.weight);
      kind = describe(settings);
      readers = readers_of(settings, extension);
      bits += count * weights::bits_per_weight(linear.weight);
    } else {
      const auto stored = checkpoint.tensors->info(stored_name(checkpoint, linear.name + ".weight"));
      bits += 8.0 * static_cast<double>(stored.stored_bytes);
      if (!is_float(stored.stored_as)) kind = stored.stored_as;
      if (is_gguf(checkpoint))
        readers = {"llama.cpp", "transformers (dequantized, with the gguf package)", "normtweak"};
    }
    auto& entry = kinds[kind];
    ++entry.count;
    entry.readers = readers;
  }

  // A packed head is listed separately, since it was not tried whether vLLM loads one. Its weights are not counted.
  void add_packed_head(const model::Linear& head) {
    const auto settings = formats::packed_settings(head.weight);
    auto readers = readers_of(settings, extension);
    std::erase(readers, "vLLM");
    kinds[describe(settings) + ", head"] = {1, readers};
  }
};

// Reads every block, which checks that all tensors exist, have the right shape, and are finite.
Linears read_linears(const model::Checkpoint& checkpoint, ProgressSink& progress) {
  const auto decoder = load_decoder(checkpoint, {.residence = model::Residence::file});
  Linears all;
  all.extension = is_extension(checkpoint);
  Stage stage(progress, "inspect", decoder.blocks.size(), "blocks");
  for (int i = 0; i < decoder.blocks.size(); ++i) {
    const auto block = decoder.blocks.get(i);
    for (const auto* linear : linears(*block)) all.add(*linear, checkpoint);
    stage.advance(1);
  }
  if (weights::is_quantized(decoder.head.weight)) all.add_packed_head(decoder.head);
  return all;
}

void check_weights(const model::Checkpoint& checkpoint, Findings& findings, ProgressSink& progress) {
  const auto found = read_linears(checkpoint, progress);
  const double bits_per_weight = found.bits / found.weights;
  findings.figures["bits_per_weight"] = bits_per_weight;
  findings.text += fmt::format("  bits per weight of the blocks' linears: {:.3f}\n", bits_per_weight);
  for (const auto& [kind, entry] : found.kinds) {
    findings.text += fmt::format("  {} linears: {}; loaded by {}\n", entry.count, kind, fmt::join(entry.readers, ", "));
    findings.figures["linears"].push_back({{"kind", kind}, {"count", entry.count}, {"loaded_by", entry.readers}});
  }
}

// A missing or unsupported tokenizer is reported, not an error.
void check_tokenizer(const model::Checkpoint& checkpoint, Findings& findings) {
  bool usable = false;
  std::string finding = "none";
  if (checkpoint.side_files.contains("tokenizer.json") || !checkpoint.tokenizer_problem.empty()) {
    try {
      const auto tokenizer = load_tokenizer(checkpoint);
      const auto size = tokenizer.size();
      finding = fmt::format("yes, {} tokens", size);
      usable = true;
      findings.figures["tokenizer_tokens"] = size;
    } catch (const Error& error) {
      finding = fmt::format("cannot be used: {}", error.what());
      findings.figures["tokenizer_problem"] = error.what();
    }
  }
  findings.figures["tokenizer"] = usable;
  findings.text += fmt::format("  tokenizer: {}\n", finding);
}

// A token without a row in the embedding may never be met, but a model that has some is not sound.
void check_tokens_fit(const model::Checkpoint& checkpoint, const Findings& findings) {
  const auto tokens = findings.figures.value("tokenizer_tokens", std::int64_t{0}), rows = checkpoint.numbers.vocabulary;
  if (tokens <= rows) return;
  fail(
      "{}: the tokenizer has {} tokens, but the embedding has {} rows; texts that use the tokens from id {} on cannot "
      "be run; use the tokenizer that the model was trained with",
      checkpoint.path, tokens, rows, rows);
}

Findings inspect_model(const std::string& path, bool quick, ProgressSink& progress) {
  const auto checkpoint = model::open_checkpoint(path);
  const auto& numbers = checkpoint.numbers;
  Findings findings;
  findings.figures["path"] = path;
  findings.figures["kind"] = "model";
  findings.figures["family"] = checkpoint.family->name;
  findings.figures["blocks"] = numbers.layers;
  findings.figures["hidden"] = numbers.hidden;
  findings.figures["vocabulary"] = numbers.vocabulary;
  findings.figures["context"] = numbers.context;
  findings.figures["stored_type"] = float_type_name(numbers.stored_type);
  findings.figures["quantized"] = model::is_quantized(checkpoint) || holds_blocks(checkpoint);
  findings.text =
      fmt::format("{}: {} model, {} blocks of {} hidden, {} heads ({} key-value), vocabulary {}, context {}, {}\n",
                  one_line(path), checkpoint.family->name, numbers.layers, numbers.hidden, numbers.heads,
                  numbers.key_value_heads, numbers.vocabulary, numbers.context, float_type_name(numbers.stored_type));
  for (const auto& line : checkpoint.notes)
    findings.text += fmt::format("  note: {}\n", one_line(line, 2 * kLongestLine));
  if (!checkpoint.notes.empty()) findings.figures["notes"] = checkpoint.notes;
  check_tokenizer(checkpoint, findings);
  check_tokens_fit(checkpoint, findings);
  count_tensors(*checkpoint.tensors, findings);
  if (!quick) {
    check_weights(checkpoint, findings, progress);
    findings.figures["sound"] = true;
    findings.text += "  sound: every tensor is there, of its shape, and finite\n";
  }
  return findings;
}

void check_values(const formats::SafetensorsFile& file, ProgressSink& progress) {
  Stage stage(progress, "inspect", static_cast<std::int64_t>(file.names().size()), "tensors");
  for (const auto& name : file.names()) {
    if (at::isFloatingType(file.info(name).type) && !all_finite(file.read(name))) {
      fail("{}: tensor {} holds NaN or infinity", file.file_of(name), name);
    }
    stage.advance(1);
  }
}

Findings inspect_safetensors(const std::string& path, bool quick, ProgressSink& progress) {
  const auto note = put_back_and_tell(path);
  const formats::SafetensorsFile file(path);
  Findings findings;
  findings.figures["path"] = path;
  findings.figures["kind"] = "safetensors";
  findings.figures["metadata"] = file.metadata();
  findings.text = fmt::format("{}: safetensors\n", one_line(path));
  if (note) {
    findings.figures["notes"] = {*note};
    findings.text += fmt::format("  note: {}\n", one_line(*note, 2 * kLongestLine));
  }
  count_tensors(file, findings);
  for (const auto& [key, value] : file.metadata()) {
    findings.text += fmt::format("  {}\n", one_line(fmt::format("{}: {}", key, value)));
  }
  for (const auto& name : file.names()) {
    const auto info = file.info(name);
    findings.text +=
        fmt::format("  {} {} [{}]\n", one_line(name), c10::toString(info.type), fmt::join(info.shape, ", "));
  }
  if (!quick) {
    check_values(file, progress);
    findings.figures["sound"] = true;
  }
  return findings;
}

}  // namespace

Job add_inspect(CLI::App& command) {
  auto choices = std::make_shared<Choices>();
  command.footer(
      "Reads every weight unless --quick; exits with status 1 and one line if a tensor is missing, misshapen or not "
      "finite, or if the tokenizer has more tokens than the embedding rows.");
  command.add_option("PATH", choices->path, "A model (folder, .gguf, hub id) or a .safetensors file")->required();
  command.add_flag("--quick", choices->quick, "Read headers only");
  add_common(command, choices->common);
  return [choices] {
    check_apart({{"--json", choices->common.json}}, {{"PATH", choices->path}});
    const auto compute = start(choices->common, false);
    const auto progress = progress_for(choices->common);
    const auto findings = has_ending(choices->path, ".safetensors") && !fs::is_directory(choices->path)
                              ? inspect_safetensors(choices->path, choices->quick, *progress)
                              : inspect_model(choices->path, choices->quick, *progress);
    finish(findings.figures, choices->common, compute, findings.text);
  };
}

}  // namespace normtweak::cli
