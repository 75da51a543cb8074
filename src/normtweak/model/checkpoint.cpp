#include "normtweak/model/checkpoint.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"
#include "normtweak/base/files/out_of_memory.h"
#include "normtweak/base/files/path_exists.h"
#include "normtweak/formats/linears/quantized_tensors.h"
#include "normtweak/formats/model_weights.h"
#include "normtweak/model/config_values.h"
#include "normtweak/model/gguf_checkpoint.h"
#include "normtweak/model/model_path.h"
#include "normtweak/model/multimodal.h"
#include "normtweak/model/parts.h"
#include "normtweak/model/token_ids.h"
#include "normtweak/text/tokenizer_folder.h"

namespace normtweak::model {
namespace fs = std::filesystem;
namespace {

// Everything besides config.json and the weights that readers of a checkpoint look for, with NAME.tiktoken. The first
// make the tokenizer.
constexpr std::array<std::string_view, 16> kSideFiles = {"tokenizer.json",
                                                         "tokenizer.model",
                                                         "tiktoken.model",
                                                         "tekken.json",
                                                         "tokenizer_config.json",
                                                         "special_tokens_map.json",
                                                         "added_tokens.json",
                                                         "vocab.json",
                                                         "merges.txt",
                                                         "generation_config.json",
                                                         "LICENSE",
                                                         "chat_template.jinja",
                                                         "chat_template.json",
                                                         "preprocessor_config.json",
                                                         "processor_config.json",
                                                         "video_preprocessor_config.json"};
constexpr auto kTokenizerFiles = std::span(kSideFiles).first<7>();

// A file that cannot be read does not stop work that does without it: those of the tokenizer are missed where text is
// read, those that are only copied never. generation_config.json is read with the model.
void read_side_files(const fs::path& directory, Checkpoint& checkpoint) {
  std::vector<std::string> names(kSideFiles.begin(), kSideFiles.end());
  for (const auto& entry : fs::directory_iterator(directory)) {
    auto name = entry.path().filename().string();
    if (name.ends_with(text::kTiktokenEnding)) names.push_back(std::move(name));
  }
  for (const auto& name : names) {
    const auto path = directory / name;
    try {
      if (path_exists(path)) checkpoint.side_files.emplace(name, read_file(path));
    } catch (const Error& error) {
      if (name == "generation_config.json") throw;
      const bool is_of_tokenizer =
          text::is_vocabulary_file(name) || std::ranges::find(kTokenizerFiles, name) != kTokenizerFiles.end();
      if (is_of_tokenizer) {
        checkpoint.tokenizer_problem = error.what();
      } else {
        checkpoint.notes.push_back(fmt::format("{}; a result will lack it", error.what()));
      }
    }
  }
}

// If the config names no dtype, readers use that of the weights.
at::ScalarType type_of_norms(const Checkpoint& checkpoint) {
  const auto name = stored_name(
      checkpoint, fmt::format("{}.weight", checkpoint.numbers.final_norm ? checkpoint.family->final_norm.name
                                                                         : checkpoint.family->embedding.name));
  if (!checkpoint.tensors->contains(name)) return at::kFloat;
  const auto type = checkpoint.tensors->info(name).type;
  return at::isFloatingType(type) && !c10::isFloat8Type(type) ? type : at::kFloat;
}

// F64 is computed, and written, in F32.
void choose_types(Checkpoint& checkpoint) {
  auto& stored = checkpoint.numbers.stored_type;
  if (!names_stored_type(checkpoint.config)) stored = type_of_norms(checkpoint);
  checkpoint.result_type = stored == at::kDouble ? at::kFloat : stored;
  if (stored == at::kDouble) {
    checkpoint.notes.push_back(fmt::format(
        "{}: float64; the model is computed, and what is made from it is stored, in float32", checkpoint.path));
  }
}

// If the config ties the head to the embedding but the file has a separate head, transformers 5 uses the file's head
// and other readers the embedding. A saved copy states which one applies, so that all readers agree.
void untie_other_head(Checkpoint& checkpoint) {
  const auto head = stored_name(checkpoint, fmt::format("{}.weight", checkpoint.family->head.name));
  if (!checkpoint.numbers.tied_head || !checkpoint.tensors->contains(head)) return;
  if (head_copies_embedding(checkpoint)) return;
  checkpoint.numbers.tied_head = false;
  checkpoint.config["tie_word_embeddings"] = false;
  auto& outer = checkpoint.outer_config;
  if (outer.is_null()) return;
  outer["tie_word_embeddings"] = false;
  const auto inner = outer.find("text_config");
  if (inner != outer.end() && inner->contains("tie_word_embeddings")) (*inner)["tie_word_embeddings"] = false;
}

// The file that has the vocabulary.
std::optional<std::string> vocabulary_file(const Checkpoint& checkpoint) {
  if (checkpoint.side_files.contains("tokenizer.json")) return "tokenizer.json";
  std::vector<std::string> names;
  for (const auto& [name, content] : checkpoint.side_files) names.push_back(name);
  return text::find_vocabulary_file(names, checkpoint.path);
}

// The files that make the tokenizer. Views of the checkpoint's strings, and of `vocabulary`, the name of a file.
text::TokenizerFolder tokenizer_folder(const Checkpoint& checkpoint, const std::string& vocabulary) {
  const auto content = [&](const char* name) -> std::optional<std::string_view> {
    const auto found = checkpoint.side_files.find(name);
    return found == checkpoint.side_files.end() ? std::nullopt : std::optional<std::string_view>(found->second);
  };
  const auto& config = checkpoint.outer_config.is_null() ? checkpoint.config : checkpoint.outer_config;
  const auto text_of = [&](const char* key) {
    const auto found = config.find(key);
    return found != config.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  return {.tokenizer = content("tokenizer.json").value_or(""),
          .vocabulary = text::VocabularyFile{.name = vocabulary, .content = checkpoint.side_files.at(vocabulary)},
          .config = content("tokenizer_config.json"),
          .special_tokens_map = content("special_tokens_map.json"),
          .added_tokens = content("added_tokens.json"),
          .model_type = text_of("model_type"),
          .tokenizer_class = text_of("tokenizer_class"),
          .origin = checkpoint.path};
}

// transformers would add such an adapter to the weights.
void refuse_adapter_beside(const fs::path& directory) {
  const auto adapter = directory / "adapter_config.json";
  if (!path_exists(adapter)) return;
  fail(
      "{}: describes an adapter (LoRA) that is not merged into the weights; merge it first (in peft "
      "merge_and_unload(), then save_pretrained())",
      adapter.string());
}

// What says how the linears are quantized: a key of the config, or a file that older programs wrote beside it.
void open_quantization(const fs::path& directory, Checkpoint& checkpoint) {
  for (const auto* key : {"quantization_config", "compression_config"}) {
    const auto found = checkpoint.config.find(key);
    if (found == checkpoint.config.end() || found->is_null()) continue;
    set_quantization(checkpoint, *found, fmt::format("{}: {}", (directory / "config.json").string(), key));
    return;
  }
  constexpr std::array<std::pair<const char*, const char*>, 2> kFiles = {{
      {"quantize_config.json", "gptq"},
      {"quant_config.json", "awq"},
  }};
  for (const auto& [name, method] : kFiles) {
    const auto path = directory / name;
    if (!path_exists(path)) continue;
    auto config = read_json(path);
    if (config.is_object() && !config.contains("quant_method")) config["quant_method"] = method;
    set_quantization(checkpoint, std::move(config), path.string());
    return;
  }
}

void enter_language_model(const MultimodalModel& multimodal, Checkpoint& checkpoint) {
  checkpoint.family = &family_within(*checkpoint.family, *checkpoint.tensors, checkpoint.path);
  checkpoint.notes.push_back(fmt::format(
      "{}: a model of text and images ({}); its language model, of the family {}, is worked on, and all else "
      "is carried along",
      checkpoint.path, multimodal.name, checkpoint.family->name));
}

Checkpoint open_directory(const fs::path& directory) {
  refuse_adapter_beside(directory);
  const auto config_path = directory / "config.json";
  if (!path_exists(config_path)) refuse_folder(directory);
  Checkpoint checkpoint;
  checkpoint.path = directory.string();
  checkpoint.config = read_json(config_path);
  if (!checkpoint.config.is_object()) fail("{}: a JSON object is needed", config_path.string());
  const auto* const multimodal = find_multimodal(checkpoint.config);
  if (multimodal != nullptr) {
    checkpoint.outer_config = std::move(checkpoint.config);
    checkpoint.config = language_config(*multimodal, checkpoint.outer_config, config_path.string());
  }
  checkpoint.family = &find_family(checkpoint.config, config_path.string());
  checkpoint.numbers = read_config(*checkpoint.family, checkpoint.config, config_path.string(), &checkpoint.notes);
  checkpoint.tensors = formats::open_weights(directory, &checkpoint.notes);
  if (multimodal != nullptr) enter_language_model(*multimodal, checkpoint);
  open_quantization(directory, checkpoint);
  choose_types(checkpoint);
  untie_other_head(checkpoint);
  read_side_files(directory, checkpoint);
  add_tokenizer(checkpoint);
  check_token_ids(checkpoint);
  return checkpoint;
}

}  // namespace

Checkpoint open_checkpoint(const std::string& model) {
  const auto [path, note] = find_model(model);
  auto checkpoint = fs::is_directory(path) ? open_directory(path) : open_gguf_checkpoint(path);
  if (!note.empty()) checkpoint.notes.push_back(note);
  return checkpoint;
}

void set_quantization(Checkpoint& checkpoint, Json config, const std::string& origin) {
  checkpoint.quantization = std::move(config);
  checkpoint.format = &formats::find_quantization_format(checkpoint.quantization, origin);
  checkpoint.quantized =
      checkpoint.format->open(checkpoint.quantization, origin, module_spellings(checkpoint), checkpoint.notes);
  checkpoint.tensors = formats::quantized_tensors(checkpoint.tensors, checkpoint.quantized);
  checkpoint.keeps_codes = true;
}

Checkpoint with_codes(Checkpoint checkpoint) {
  if (!checkpoint.tensors->is_patchable()) {
    fail(
        "{}: weights in PyTorch files are not changed in place; save the model as safetensors first "
        "(save_pretrained() of transformers does)",
        checkpoint.path);
  }
  checkpoint.keeps_codes = true;
  if (fs::is_directory(checkpoint.path)) return checkpoint;
  checkpoint.numbers.stored_type = at::kFloat;
  if (checkpoint.family->norm_shift == 0) return checkpoint;
  for (const auto& norm : all_norms(*checkpoint.family, checkpoint.numbers)) {
    const auto name = norm.name + ".weight";
    const auto type = checkpoint.tensors->info(name).type;
    if (type == at::kFloat) continue;  // as llama.cpp's programs write them
    fail("{}: is {}, and holds the norm plus {}; such norms are changed in place only in F32",
         described(*checkpoint.tensors, name), checkpoint.tensors->info(name).stored_as,
         -checkpoint.family->norm_shift);
  }
  return checkpoint;
}

void report_notes(const Checkpoint& checkpoint, ProgressSink& progress) {
  for (const auto& line : checkpoint.notes) progress.note(line);
}

bool is_side_file(std::string_view name) {
  return text::is_vocabulary_file(name) || std::ranges::find(kSideFiles, name) != kSideFiles.end();
}

void add_tokenizer(Checkpoint& checkpoint) {
  try {
    const auto file = vocabulary_file(checkpoint);
    if (!file) return;
    if (checkpoint.side_files.at(*file).empty()) {
      fail("{}/{}: is empty; the download is probably incomplete", checkpoint.path, *file);
    }
    auto loaded = within_memory(fmt::format("{}/{}", checkpoint.path, *file),
                                [&] { return text::load_tokenizer(tokenizer_folder(checkpoint, *file)); });
    loaded.tokenizer.limit_ids(checkpoint.numbers.vocabulary);
    checkpoint.tokenizer = std::make_shared<const text::Tokenizer>(std::move(loaded.tokenizer));
    checkpoint.token_roles = std::move(loaded.roles);
    std::ranges::move(loaded.notes, std::back_inserter(checkpoint.notes));
  } catch (const Error& error) {
    checkpoint.tokenizer_refusal = error.what();
  }
}

text::Tokenizer load_tokenizer(const Checkpoint& checkpoint, std::string_view advice) {
  const auto ending = advice.empty() ? "" : fmt::format("; {}", advice);
  if (!checkpoint.tokenizer_problem.empty()) fail("{}{}", checkpoint.tokenizer_problem, ending);
  if (!checkpoint.tokenizer_refusal.empty()) fail("{}{}", checkpoint.tokenizer_refusal, ending);
  if (checkpoint.tokenizer == nullptr) {
    fail(
        "{}: no tokenizer.json and no tokenizer.model, and text cannot be read without; save one beside the model "
        "(AutoTokenizer.from_pretrained(...).save_pretrained(...)){}{}",
        checkpoint.path, advice.empty() ? "" : ", or ", advice);
  }
  return *checkpoint.tokenizer;
}

text::LoadedTokenizer load_tokenizer_with_makings(const Checkpoint& checkpoint) {
  load_tokenizer(checkpoint);  // refuses what cannot be read
  const auto file = vocabulary_file(checkpoint).value();
  auto folder = tokenizer_folder(checkpoint, file);
  folder.keep_makings = true;
  return text::load_tokenizer(folder);
}

std::string key_name(const Checkpoint& checkpoint, std::string_view key) {
  return ConfigValues(checkpoint.config, {}, checkpoint.family->aliases, checkpoint.key_names, nullptr).name(key);
}

std::string stored_name(const Checkpoint& checkpoint, const std::string& name) {
  const auto& family = *checkpoint.family;
  const auto& tensors = *checkpoint.tensors;
  if (tensors.contains(name)) return name;
  const std::string prefix(family.base_prefix);
  if (!prefix.empty() && name.starts_with(prefix) && tensors.contains(name.substr(prefix.size()))) {
    return name.substr(prefix.size());
  }
  if (!prefix.empty() && tensors.contains(prefix + name)) return prefix + name;
  if (checkpoint.numbers.tied_head && name == fmt::format("{}.weight", family.embedding.name)) {
    const auto head = stored_name(checkpoint, fmt::format("{}.weight", family.head.name));
    if (tensors.contains(head)) return head;
  }
  return name;
}

bool head_copies_embedding(const Checkpoint& checkpoint) {
  const auto& family = *checkpoint.family;
  const auto& tensors = *checkpoint.tensors;
  const auto head = stored_name(checkpoint, fmt::format("{}.weight", family.head.name));
  const auto embedding = stored_name(checkpoint, fmt::format("{}.weight", family.embedding.name));
  if (head == embedding) return tensors.contains(head);
  return tensors.contains(head) && tensors.contains(embedding) &&
         tensors.read(head).to(at::kFloat).equal(tensors.read(embedding).to(at::kFloat));
}

bool is_quantized(const Checkpoint& checkpoint) { return checkpoint.quantized != nullptr; }

}  // namespace normtweak::model
