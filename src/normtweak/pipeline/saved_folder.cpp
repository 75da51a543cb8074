#include "normtweak/pipeline/saved_folder.h"

#include <algorithm>
#include <cctype>
#include <set>

#include "normtweak/base/device/device.h"
#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"
#include "normtweak/base/json/json_non_finite.h"
#include "normtweak/model/config_values.h"

namespace normtweak::pipeline {
namespace fs = std::filesystem;
namespace {

// Marks the folder as written by this program, for later runs.
constexpr const char *kWriterKey = "written_by", *kWriter = "normtweak";

formats::Metadata save_metadata() {
  auto metadata = formats::kModelMetadata;
  metadata[kWriterKey] = kWriter;
  return metadata;
}

// model.safetensors, model-00001-of-00002.safetensors
bool is_weights_name(std::string name) {
  std::ranges::replace_if(
      name, [](unsigned char letter) { return std::isdigit(letter) != 0; }, '0');
  return name == "model.safetensors" || name == "model-00000-of-00000.safetensors";
}

// Besides weights and the files that are copied.
bool is_written_beside(std::string_view name) {
  return name == "config.json" || name == "model.safetensors.index.json" ||
         std::ranges::any_of(formats::quantization_formats(),
                             [&](const auto& format) { return !name.empty() && format.side_file == name; });
}

bool is_our_weights(const fs::path& path) {
  try {
    const formats::SafetensorsFile file(path);
    const auto writer = file.metadata().find(kWriterKey);
    return writer != file.metadata().end() && writer->second == kWriter;
  } catch (const Error&) {  // not a safetensors file
    return false;
  }
}

// Returns the names of its files.
std::set<std::string> write_files(const model::Checkpoint& original, const FolderContents& contents,
                                  const fs::path& folder, WriteFile* write) {
  const auto weights =
      formats::write_sharded_safetensors(folder, contents.tensors, save_metadata(), formats::kMaxShardBytes, write);
  std::set<std::string> names(weights.begin(), weights.end());
  const auto write_text = [&](const std::string& name, const std::string& content) {
    write(folder / name, [&](std::ostream& stream) { stream << content; });
    names.insert(name);
  };
  write_text("config.json", dump_json(contents.config, 2) + "\n");
  for (const auto& [name, content] : original.side_files) write_text(name, content);
  if (!contents.quantization.is_null() && !contents.side_file.empty()) {
    write_text(std::string(contents.side_file), dump_json(contents.quantization, 2) + "\n");
  }
  return names;
}

// Such as shards of other numbers.
void remove_others(const fs::path& folder, const std::set<std::string>& names) {
  std::vector<fs::path> others;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (!names.contains(entry.path().filename().string())) others.push_back(entry.path());
  }
  std::ranges::for_each(others, remove_tree);
}

}  // namespace

std::vector<formats::TensorToWrite> encoded_when_written(const formats::QuantizationFormat& format, const Json& config,
                                                         const formats::QuantizedModule& outline,
                                                         const WeightMaker& weight) {
  auto parts = format.encode(config, outline);
  for (std::size_t part = 0; part < parts.size(); ++part) {
    parts[part].load = [&format, &config, outline, weight, part] {
      return format.encode(config, {outline.name, weight(), outline.input_quantizer})[part].load();
    };
  }
  return parts;
}

void write_folder(const model::Checkpoint& original, const FolderContents& contents, const fs::path& directory,
                  const fs::path& start) {
  if (start.empty()) {
    AtomicDirectory staging(directory);
    write_files(original, contents, staging.path(), write_file_atomically);
    return staging.commit();
  }
  AtomicDirectory staging(directory, start);
  remove_others(start, write_files(original, contents, start, change_file));
  staging.commit();
}

std::int64_t side_file_bytes(const model::Checkpoint& checkpoint) {
  std::int64_t bytes = 0;
  for (const auto& [name, content] : checkpoint.side_files) bytes += static_cast<std::int64_t>(content.size());
  return bytes;
}

std::int64_t bytes_of(const formats::TensorToWrite& tensor) {
  return c10::multiply_integers(tensor.shape) * static_cast<std::int64_t>(c10::elementSize(tensor.type));
}

Json config_with(const model::Checkpoint& original, const Json& quantization) {
  auto config = original.outer_config.is_null() ? original.config : original.outer_config;
  const bool has_inner = !original.outer_config.is_null() && config.contains("text_config");
  for (const auto* key : {"quantization_config", "compression_config"}) {
    config.erase(key);
    if (has_inner) config["text_config"].erase(key);
  }
  if (!quantization.is_null()) config["quantization_config"] = quantization;
  return config;
}

void set_type(Json& config, at::ScalarType type) {
  const bool has_new = config.contains("dtype"), has_old = config.contains("torch_dtype");
  config[has_old && !has_new ? "torch_dtype" : "dtype"] = float_type_name(type);
  if (has_new) config.erase("torch_dtype");
  const auto language_model = config.find("text_config");
  if (language_model != config.end() && model::names_stored_type(*language_model)) set_type(*language_model, type);
}

std::vector<std::string> foreign_entries(const fs::path& directory) {
  std::vector<std::string> foreign, others;
  bool has_weights = false;
  for (const auto& entry : fs::directory_iterator(directory)) {
    const auto name = entry.path().filename().string();
    const bool is_file = entry.symlink_status().type() == fs::file_type::regular;
    const bool is_weights = is_file && is_weights_name(name) && is_our_weights(entry.path());
    const bool is_beside = is_written_beside(name) || model::is_side_file(name);
    has_weights |= is_weights;
    (is_weights || (is_file && is_beside) ? others : foreign).push_back(name);
  }
  if (!has_weights) foreign.insert(foreign.end(), others.begin(), others.end());
  std::ranges::sort(foreign);
  return foreign;
}

}  // namespace normtweak::pipeline
