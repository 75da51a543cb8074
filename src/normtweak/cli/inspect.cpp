#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "normtweak/base/device.h"
#include "normtweak/base/error.h"
#include "normtweak/base/finite.h"
#include "normtweak/cli/commands.h"
#include "normtweak/cli/general_options.h"
#include "normtweak/cli/named_files.h"
#include "normtweak/formats/compressed_tensors_config.h"
#include "normtweak/formats/safetensors.h"
#include "normtweak/model/decoder.h"

namespace normtweak::cli {
namespace {

namespace fs = std::filesystem;

struct Choices {
  std::string path;
  bool quick = false;
  Common common;
};

// What the two kinds of things that can be inspected have to say.
struct Findings {
  Json figures;
  std::string text;
};

void count_tensors(const formats::TensorSource& tensors, Findings& findings) {
  std::map<std::string, std::int64_t> by_type;
  std::int64_t bytes = 0;
  for (const auto& name : tensors.names()) {
    const auto info = tensors.info(name);
    std::int64_t count = 1;
    for (const auto size : info.shape) count *= size;
    by_type[c10::toString(info.type)] += count;
    bytes += count * static_cast<std::int64_t>(c10::elementSize(info.type));
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
  bool extension = false;
  std::vector<formats::PackedReader> readers;
};
using LinearKinds = std::map<std::string, LinearKind>;  // by what is said of them

std::string describe(const formats::PackedSettings& settings) {
  return fmt::format("{} bits, {}, {}{}", settings.bits,
                     settings.kind == formats::PackedKind::codebook ? "codebook a channel"
                     : settings.group_size > 0                      ? fmt::format("groups of {}", settings.group_size)
                                                                    : "a scale a channel",
                     settings.symmetric ? "symmetric" : "asymmetric",
                     settings.kind == formats::PackedKind::float_zero_points ? ", float zero-points" : "");
}

// A packed head is told apart, for whether vLLM takes one was not tried; a float one does not count.
void count_packed(const weights::Weight& weight, bool is_head, LinearKinds& kinds) {
  const auto settings = formats::packed_settings(weight);
  auto& kind = kinds[describe(settings) + (is_head ? ", head" : "")];
  ++kind.count;
  kind.extension = settings.kind != formats::PackedKind::affine;
  kind.readers = formats::packed_readers(settings);
  if (is_head) std::erase_if(kind.readers, [](const auto& reader) { return reader.name == "vLLM"; });
}

void count_linears(const model::Block& block, LinearKinds& kinds) {
  for (const auto* linear : linears(block)) {
    if (weights::is_quantized(linear->weight)) {
      count_packed(linear->weight, false, kinds);
    } else {
      ++kinds["float"].count;
    }
  }
}

// Reads every block, which checks that all tensors are there, of the right shape, and finite.
void check_weights(const model::Checkpoint& checkpoint, Findings& findings, ProgressSink& progress) {
  const auto decoder = load_decoder(checkpoint, {.residence = model::Residence::file});
  LinearKinds kinds;
  Stage stage(progress, "inspect", decoder.blocks.size(), "blocks");
  for (int i = 0; i < decoder.blocks.size(); ++i) {
    count_linears(*decoder.blocks.get(i), kinds);
    stage.advance(1);
  }
  if (weights::is_quantized(decoder.head.weight)) count_packed(decoder.head.weight, true, kinds);
  const bool extension = std::ranges::any_of(kinds, [](const auto& entry) { return entry.second.extension; });
  findings.figures["bits_per_weight"] = bits_per_weight(decoder);
  findings.text += fmt::format("  bits per weight of the blocks' linears: {:.3f}\n", bits_per_weight(decoder));
  for (const auto& [kind, entry] : kinds) {
    std::vector<std::string> readers;
    for (const auto& reader : entry.readers) {
      readers.push_back(reader.condition.empty() ? std::string(reader.name)
                                                 : fmt::format("{} ({})", reader.name, reader.condition));
    }
    if (kind == "float") readers = {"transformers", "vLLM", "normtweak"};
    if (kind != "float" && checkpoint.family->linear_layout == model::Layout::in_out) {
      readers = {"normtweak (transformers packs no Conv1D)"};
    }
    if (extension) readers = {"normtweak"};  // no other program gets past the config
    findings.text += fmt::format("  {} linears: {}; loaded by {}\n", entry.count, kind, fmt::join(readers, ", "));
    findings.figures["linears"].push_back({{"kind", kind}, {"count", entry.count}, {"loaded_by", readers}});
  }
}

// A model without a tokenizer, or with one that cannot be used here, is still a model.
void check_tokenizer(const model::Checkpoint& checkpoint, Findings& findings) {
  bool usable = false;
  std::string finding = "none";
  if (checkpoint.side_files.contains("tokenizer.json") || !checkpoint.tokenizer_problem.empty()) {
    try {
      finding = fmt::format("yes, {} tokens", load_tokenizer(checkpoint).size());
      usable = true;
    } catch (const Error& error) {
      finding = fmt::format("cannot be used: {}", error.what());
      findings.figures["tokenizer_problem"] = error.what();
    }
  }
  findings.figures["tokenizer"] = usable;
  findings.text += fmt::format("  tokenizer: {}\n", finding);
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
  findings.figures["quantized"] = model::is_quantized(checkpoint);
  findings.text =
      fmt::format("{}: {} model, {} blocks of {} hidden, {} heads ({} key-value), vocabulary {}, context {}, {}\n",
                  path, checkpoint.family->name, numbers.layers, numbers.hidden, numbers.heads, numbers.key_value_heads,
                  numbers.vocabulary, numbers.context, float_type_name(numbers.stored_type));
  check_tokenizer(checkpoint, findings);
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
  const formats::SafetensorsFile file(path);
  Findings findings;
  findings.figures["path"] = path;
  findings.figures["kind"] = "safetensors";
  findings.figures["metadata"] = file.metadata();
  findings.text = fmt::format("{}: safetensors\n", path);
  count_tensors(file, findings);
  for (const auto& [key, value] : file.metadata()) findings.text += fmt::format("  {}: {}\n", key, value);
  for (const auto& name : file.names()) {
    const auto info = file.info(name);
    findings.text += fmt::format("  {} {} [{}]\n", name, c10::toString(info.type), fmt::join(info.shape, ", "));
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
      "Reads every weight unless --quick; exits with 1 and one line if something is missing, misshapen or not finite.");
  command.add_option("PATH", choices->path, "A model (folder, .gguf, hub id) or a .safetensors file")->required();
  command.add_flag("--quick", choices->quick, "Headers only");
  add_common(command, choices->common);
  return [choices] {
    check_apart({{"--json", choices->common.json}}, {{"PATH", choices->path}});
    const auto compute = start(choices->common, false);
    const auto progress = progress_for(choices->common);
    const auto findings = fs::path(choices->path).extension() == ".safetensors"
                              ? inspect_safetensors(choices->path, choices->quick, *progress)
                              : inspect_model(choices->path, choices->quick, *progress);
    finish(findings.figures, choices->common, compute, findings.text);
  };
}

}  // namespace normtweak::cli
