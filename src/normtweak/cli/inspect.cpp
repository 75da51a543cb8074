#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>

#include "normtweak/base/device/device.h"
#include "normtweak/base/device/finite.h"
#include "normtweak/base/device/type_name.h"
#include "normtweak/base/error.h"
#include "normtweak/base/files/file_kind.h"
#include "normtweak/base/files/path_exists.h"
#include "normtweak/base/files/restore_along_path.h"
#include "normtweak/base/strings/one_line.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/cli/commands.h"
#include "normtweak/cli/general_options.h"
#include "normtweak/cli/inspected_linears.h"
#include "normtweak/cli/named_files.h"
#include "normtweak/formats/gguf.h"
#include "normtweak/formats/model_weights.h"
#include "normtweak/formats/pytorch_source.h"
#include "normtweak/formats/safetensors.h"
#include "normtweak/model/checkpoint_readers.h"
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

bool is_gguf(const model::Checkpoint& checkpoint) { return !fs::is_directory(checkpoint.path); }

bool holds_blocks(const model::Checkpoint& checkpoint) {
  return is_gguf(checkpoint) && std::ranges::any_of(checkpoint.tensors->names(), [&](const std::string& name) {
           return !is_float_type(checkpoint.tensors->info(name).stored_as);
         });
}

std::vector<std::string> openers(const std::vector<formats::Reader>& readers) {
  std::vector<std::string> names;
  for (const auto& reader : readers) {
    if (reader.opens) names.push_back(reader_text(reader));
  }
  return names;
}

void check_weights(const model::Checkpoint& checkpoint, const std::vector<formats::Reader>& readers, Findings& findings,
                   ProgressSink& progress) {
  const auto found = read_linears(checkpoint, progress);
  findings.figures["bits_per_weight"] = found.bits_per_weight();
  findings.text += fmt::format("  bits per weight of the blocks' linears: {:.3f}\n", found.bits_per_weight());
  for (const auto& [kind, count] : found.kinds()) {
    findings.text += fmt::format("  {}: {}\n", counted(count, "linear"), kind);
    findings.figures["linears"].push_back({{"kind", kind}, {"count", count}, {"loaded_by", openers(readers)}});
  }
  findings.text += table_text(found);
  findings.figures["layers"] = layers_json(found);
  for (const auto& doubt : found.doubts)
    findings.text += fmt::format("  in doubt: {}\n", one_line(doubt, 2 * kLongestLine));
  if (!found.doubts.empty()) findings.figures["doubts"] = found.doubts;
}

// A missing or unsupported tokenizer is reported, not an error.
void check_tokenizer(const model::Checkpoint& checkpoint, Findings& findings) {
  bool usable = false;
  std::string finding = "none";
  const bool has_tokenizer = checkpoint.tokenizer != nullptr || !checkpoint.tokenizer_refusal.empty();
  if (has_tokenizer || !checkpoint.tokenizer_problem.empty()) {
    try {
      const auto tokenizer = load_tokenizer(checkpoint);
      const auto size = tokenizer.size();
      finding = "yes, " + counted(size, "token");
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
  findings.text = fmt::format("{}: {} model, {} of {} hidden, {} ({} key-value), vocabulary {}, context {}, {}\n",
                              one_line(path), checkpoint.family->name, counted(numbers.layers, "block"), numbers.hidden,
                              counted(numbers.heads, "head"), numbers.key_value_heads, numbers.vocabulary,
                              numbers.context, float_type_name(numbers.stored_type));
  for (const auto& line : checkpoint.notes)
    findings.text += fmt::format("  note: {}\n", one_line(line, 2 * kLongestLine));
  if (!checkpoint.notes.empty()) findings.figures["notes"] = checkpoint.notes;
  check_tokenizer(checkpoint, findings);
  check_tokens_fit(checkpoint, findings);
  count_tensors(*checkpoint.tensors, findings);
  const auto readers = readers_of(checkpoint);
  findings.figures["readers"] = formats::readers_json(readers);
  findings.text += fmt::format("  {}\n", formats::readers_line(readers));
  if (!quick) {
    check_weights(checkpoint, readers, findings, progress);
    findings.figures["sound"] = true;
    findings.text += "  sound: every tensor is there, of its shape, and finite\n";
  }
  return findings;
}

void list_tensors(const formats::TensorSource& tensors, Findings& findings) {
  for (const auto& name : tensors.names()) {
    const auto info = tensors.info(name);
    findings.text += fmt::format("  {} {} [{}]\n", one_line(name), info.stored_as, fmt::join(info.shape, ", "));
  }
}

std::shared_ptr<const formats::TensorSource> tensors_beside(const fs::path& config) {
  if (has_ending(config, ".gguf")) return std::make_shared<formats::GgufFile>(config);
  return formats::open_weights(config.parent_path());
}

// What can be said about a model of another family: nullopt if its tensors cannot be read either.
std::optional<Findings> inspect_foreign(const model::UnsupportedFamily& unsupported) {
  const fs::path file = unsupported.file();
  std::shared_ptr<const formats::TensorSource> tensors;
  try {
    tensors = tensors_beside(file);
  } catch (const Error&) {  // the family is the first problem, and is reported
    return std::nullopt;
  }
  Findings findings;
  const auto path = has_ending(file, ".gguf") ? file.string() : file.parent_path().string();
  findings.figures["path"] = path;
  findings.figures["kind"] = "unsupported model";
  findings.figures["problem"] = unsupported.problem();
  findings.text = fmt::format("{}: not a supported model; its tensors\n", one_line(path));
  count_tensors(*tensors, findings);
  list_tensors(*tensors, findings);
  return findings;
}

void check_values(const formats::TensorSource& file, ProgressSink& progress) {
  Stage stage(progress, "inspect", static_cast<std::int64_t>(file.names().size()), "tensors");
  for (const auto& name : file.names()) {
    if (at::isFloatingType(file.info(name).type) && !all_finite(file.read(name))) {
      fail("{}: tensor {} holds NaN or infinity", file.file_of(name), name);
    }
    stage.advance(1);
  }
}

// A file with tensors and no config: what it holds of both, and `metadata`.
Findings inspect_tensors(const formats::TensorSource& file, const std::string& path, std::string_view kind,
                         const formats::Metadata& metadata, const std::string& note, bool quick,
                         ProgressSink& progress) {
  Findings findings;
  findings.figures["path"] = path;
  findings.figures["kind"] = kind;
  findings.text = fmt::format("{}: {}\n", one_line(path), kind);
  if (!note.empty()) {
    findings.figures["notes"] = {note};
    findings.text += fmt::format("  note: {}\n", one_line(note, 2 * kLongestLine));
  }
  count_tensors(file, findings);
  for (const auto& [key, value] : metadata) {
    findings.text += fmt::format("  {}\n", one_line(fmt::format("{}: {}", key, value)));
  }
  list_tensors(file, findings);
  if (!quick) {
    check_values(file, progress);
    findings.figures["sound"] = true;
  }
  return findings;
}

Findings inspect_safetensors(const std::string& path, bool quick, ProgressSink& progress) {
  const auto note = restore_and_tell(path).value_or("");
  const formats::SafetensorsFile file(path);
  auto findings = inspect_tensors(file, path, "safetensors", file.metadata(), note, quick, progress);
  findings.figures["metadata"] = file.metadata();
  return findings;
}

Findings inspect_pytorch(const std::string& path, bool quick, ProgressSink& progress) {
  const formats::PytorchFile file(path);
  return inspect_tensors(file, path, "pytorch", {}, formats::note_of_others(path, file.not_tensors()), quick, progress);
}

Findings inspect(const std::string& path, bool quick, ProgressSink& progress) {
  std::error_code unknown;  // a name may be too long for a path, but not for what it is looked up in
  const bool is_folder = fs::is_directory(path, unknown);
  if (!is_folder && has_ending(path, ".safetensors")) return inspect_safetensors(path, quick, progress);
  if (!is_folder && formats::is_named_as_pytorch(path) && path_exists(path))
    return inspect_pytorch(path, quick, progress);
  return inspect_model(path, quick, progress);
}

}  // namespace

Job add_inspect(CLI::App& command) {
  auto choices = std::make_shared<Choices>();
  command.footer(
      "Reads every weight unless --quick; exits with status 1 and one line if a tensor is missing, misshapen or not "
      "finite, or if the tokenizer has more tokens than the embedding rows. Of a model that is not supported it lists\n"
      "the tensors, and exits with status 1.");
  command
      .add_option("PATH", choices->path,
                  "A model (folder, .gguf, hub id), or a file of tensors (.safetensors, .bin, .pt, .pth)")
      ->required();
  command.add_flag("--quick", choices->quick, "Read headers only");
  add_common(command, choices->common);
  return [choices, &command] {
    check_apart({{"--json", choices->common.json}}, {{"PATH", choices->path}});
    const auto compute = start(choices->common, false);
    const auto progress = progress_for(choices->common);
    note_unread_general(command, {.no_computing = "with inspect", .no_chance = "with inspect"}, compute, *progress);
    try {
      const auto findings = inspect(choices->path, choices->quick, *progress);
      finish(findings.figures, choices->common, compute, findings.text);
    } catch (const model::UnsupportedFamily& unsupported) {
      if (const auto findings = inspect_foreign(unsupported)) {
        finish(findings->figures, choices->common, compute, findings->text);
      }
      fail("{}", unsupported.problem());
    }
  };
}

}  // namespace normtweak::cli
