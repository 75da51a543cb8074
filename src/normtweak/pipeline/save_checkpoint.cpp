#include "normtweak/pipeline/save_checkpoint.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "normtweak/base/device/device.h"
#include "normtweak/base/device/finite.h"
#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"
#include "normtweak/base/json/json_non_finite.h"
#include "normtweak/formats/compressed_tensors.h"
#include "normtweak/formats/compressed_tensors_config.h"
#include "normtweak/formats/safetensors.h"
#include "normtweak/model/unread_tensors.h"
#include "normtweak/pipeline/stored_floats.h"

namespace normtweak::pipeline {
namespace fs = std::filesystem;
namespace {

constexpr std::array<SaveFormat, 2> kSaveFormats = {{
    {"hf", "export: dequantized weights, loads everywhere with no change, holds no codes", false},
    {"compressed-tensors", "packed codes, scales and zero-points (pack-quantized)", true},
}};

// What to do about formats that are not written.
struct NextBest {
  std::string_view format, advice;
};
constexpr std::string_view kCodesForServers = "vLLM and transformers open compressed-tensors as they open this format";
constexpr std::array<NextBest, 3> kNotWritten = {{
    {"gguf", "llama.cpp's convert_hf_to_gguf.py makes a GGUF file of what hf writes"},
    {"gptq", kCodesForServers},
    {"awq", kCodesForServers},
}};

using formats::TensorToWrite;

// The dtypes in which the result stores the tensors of the original.
class TypesInResult {
 public:
  TypesInResult(const model::Checkpoint& original, at::ScalarType stored)
      : original_(original), stored_(stored), converts_(converts_floats(original, stored)) {}

  at::ScalarType of(const std::string& name) const {
    const auto type = original_.tensors->info(name).type;
    return converts_ && at::isFloatingType(type) ? stored_ : type;
  }
  bool converts() const { return converts_; }

 private:
  const model::Checkpoint& original_;
  at::ScalarType stored_;
  bool converts_;
};

// Collects the tensors of the new file, in the order of the old one.
class Contents {
 public:
  Contents(const model::Checkpoint& original, const model::Decoder& decoder, const SaveFormat& format)
      : original_(original),
        format_(format),
        stored_(decoder.config.stored_type),
        types_(original, stored_),
        family_names_(model::family_names(original)) {
    add_head(decoder.head);
    for (int i = 0; i < decoder.blocks.size(); ++i) add_block(*decoder.blocks.stored(i));
    if (decoder.final_norm.kind != model::NormKind::none) add_norm(decoder.final_norm);
  }

  std::vector<TensorToWrite> tensors() const {
    std::vector<TensorToWrite> all;
    for (const auto& name : original_.tensors->names()) {
      if (dropped_.contains(name)) continue;
      if (const auto changed = changed_.find(name); changed != changed_.end()) {
        all.insert(all.end(), changed->second.begin(), changed->second.end());
      } else {
        all.push_back(copied(name));
      }
    }
    return all;
  }

  Json config() const {
    auto config = original_.config;
    config.erase("quantization_config");
    if (types_.converts()) set_type(config);
    if (format_.holds_codes && !packed_.empty()) {
      config["quantization_config"] = packed_config(original_, packed_, float_linears_);
    }
    return config;
  }

 private:
  // Under the key that the original uses; a second one would be ignored, or contradict it in older readers.
  void set_type(Json& config) const {
    const bool has_new = config.contains("dtype"), has_old = config.contains("torch_dtype");
    config[has_old && !has_new ? "torch_dtype" : "dtype"] = float_type_name(stored_);
    if (has_new) config.erase("torch_dtype");
  }

  // What the result calls a tensor of the original.
  std::string written_name(const std::string& stored) const {
    const auto found = family_names_.find(stored);
    return found != family_names_.end() ? found->second : stored;
  }

  TensorToWrite copied(const std::string& name) const {
    const auto type = types_.of(name);
    return {written_name(name), type, original_.tensors->info(name).shape, [source = original_.tensors, name, type] {
              return as_stored(source->read(name), type, described(*source, name));
            }};
  }

  void add_floats(const std::string& family_name, const at::Tensor& values) {
    const auto name = stored_name(original_, family_name);
    const auto type = types_.of(name);
    changed_[name] = {
        {family_name, type, values.sizes().vec(),
         [values, type, what = described(*original_.tensors, name)] { return as_stored(values.cpu(), type, what); }}};
  }

  void add_norm(const model::Norm& norm) {
    add_floats(norm.name + ".weight", norm.weight);
    if (norm.bias.defined()) add_floats(norm.name + ".bias", norm.bias);
  }

  // Some programs quantize the head as well. This one never changes it, so the tensors of a packed head are copied.
  void add_head(const model::Linear& head) {
    if (!weights::is_quantized(head.weight)) {
      float_linears_.emplace_back(original_.family->head.name);  // a tied `head` has the embedding's name
    } else if (format_.holds_codes) {
      packed_.push_back({head.name, formats::packed_settings(head.weight)});
    } else {
      replace_weight(head.name, dequantized(head, model::Layout::out_in));
    }
  }

  void add_block(const model::Block& block) {
    for (const auto& [role, norm] : block.norms) add_norm(norm);
    for (const auto& part : block.linears) add_linear(part.linear);
  }

  void add_linear(const model::Linear& linear) {
    if (linear.bias.defined()) add_floats(linear.name + ".bias", linear.bias);
    if (!weights::is_quantized(linear.weight)) {
      float_linears_.push_back(linear.name);
      return;
    }
    if (format_.holds_codes) {
      packed_.push_back({linear.name, formats::packed_settings(linear.weight)});
      replace_weight(linear.name, formats::encode_packed(linear.name, linear.weight));
    } else {
      replace_weight(linear.name, dequantized(linear, original_.family->linear_layout));
    }
  }

  // Puts `tensors` in the place of the weight of `module` in the original, which may itself be packed.
  void replace_weight(const std::string& module, std::vector<TensorToWrite> tensors) {
    const auto stored = stored_module(original_, module);
    std::string place;
    for (const auto& name :
         {".weight", ".weight_packed", ".weight_scale", ".weight_zero_point", ".weight_shape", ".weight_codebook"}) {
      const auto full = stored + name;
      if (!original_.tensors->contains(full)) continue;
      if (place.empty()) {
        place = full;
      } else {
        dropped_.insert(full);
      }
    }
    changed_[place] = std::move(tensors);
  }

  std::vector<TensorToWrite> dequantized(const model::Linear& linear, model::Layout layout) const {
    const bool transposed = layout == model::Layout::in_out;
    auto shape = weights::shape(linear.weight).vec();
    if (transposed) std::swap(shape[0], shape[1]);
    const auto load = [weight = std::make_shared<const weights::Weight>(linear.weight), transposed, type = stored_,
                       what = fmt::format("{}: tensor {}.weight", original_.path, linear.name)] {
      const auto values = model::values(*weight, type).cpu();
      if (!all_finite(values)) as_stored(model::values(*weight, at::kFloat), type, what);
      return transposed ? values.t().contiguous() : values;
    };
    return {{linear.name + ".weight", stored_, shape, load}};
  }

  const model::Checkpoint& original_;
  const SaveFormat& format_;
  at::ScalarType stored_;
  TypesInResult types_;
  std::map<std::string, std::string> family_names_;            // by the name in the original
  std::map<std::string, std::vector<TensorToWrite>> changed_;  // by the name of the original's tensor
  std::set<std::string> dropped_;
  std::vector<formats::PackedModule> packed_;
  std::vector<std::string> float_linears_;
};

std::int64_t bytes_of(at::IntArrayRef shape, at::ScalarType type) {
  return c10::multiply_integers(shape) * static_cast<std::int64_t>(c10::elementSize(type));
}

std::int64_t side_file_bytes(const model::Checkpoint& checkpoint) {
  std::int64_t bytes = 0;
  for (const auto& [name, content] : checkpoint.side_files) bytes += static_cast<std::int64_t>(content.size());
  return bytes;
}

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

bool is_our_weights(const fs::path& path) {
  try {
    const formats::SafetensorsFile file(path);
    const auto writer = file.metadata().find(kWriterKey);
    return writer != file.metadata().end() && writer->second == kWriter;
  } catch (const Error&) {  // not a safetensors file
    return false;
  }
}

void write_text(const fs::path& path, const std::string& content) {
  write_file_atomically(path, [&](std::ostream& stream) { stream << content; });
}

}  // namespace

std::span<const SaveFormat> save_formats() { return kSaveFormats; }

const SaveFormat& find_save_format(std::string_view name) {
  std::vector<std::string_view> known;
  for (const auto& format : kSaveFormats) {
    if (format.name == name) return format;
    known.push_back(format.name);
  }
  const auto* next = std::ranges::find(kNotWritten, name, &NextBest::format);
  const auto advice = next == kNotWritten.end() ? "" : fmt::format("; {}", next->advice);
  fail("{}: not written by this program; known are {}{}", name, fmt::join(known, ", "), advice);
}

Json packed_config(const model::Checkpoint& original, std::span<const formats::PackedModule> packed,
                   const std::vector<std::string>& floats) {
  const auto& family = *original.family;
  return formats::make_packed_config(
      packed, floats,
      {.base_prefix = family.base_prefix, .others_read_it = family.linear_layout == model::Layout::out_in});
}

bool converts_floats(const model::Checkpoint& original, at::ScalarType stored) {
  if (stored != original.numbers.stored_type) return true;
  if (model::is_quantized(original)) return false;
  return std::ranges::any_of(model::family_names(original), [&](const auto& names) {
    const auto type = original.tensors->info(names.first).type;
    return at::isFloatingType(type) && type != stored;
  });
}

void save_checkpoint(const model::Checkpoint& original, const model::Decoder& decoder, const fs::path& directory,
                     const SaveFormat& format) {
  Contents contents(original, decoder, format);
  AtomicDirectory staging(directory);
  formats::write_sharded_safetensors(staging.path(), contents.tensors(), save_metadata());
  write_text(staging.path() / "config.json", dump_json(contents.config(), 2) + "\n");
  for (const auto& [name, content] : original.side_files) write_text(staging.path() / name, content);
  staging.commit();
}

std::int64_t saved_bytes(const model::Checkpoint& original, const model::Decoder& decoder, const SaveFormat& format) {
  auto bytes = side_file_bytes(original);
  for (const auto& tensor : Contents(original, decoder, format).tensors()) bytes += bytes_of(tensor.shape, tensor.type);
  return bytes;
}

std::vector<std::string> foreign_entries(const fs::path& directory) {
  std::vector<std::string> foreign, others;
  bool has_weights = false;
  for (const auto& entry : fs::directory_iterator(directory)) {
    const auto name = entry.path().filename().string();
    const bool is_file = entry.symlink_status().type() == fs::file_type::regular;
    const bool is_weights = is_file && is_weights_name(name) && is_our_weights(entry.path());
    const bool is_beside = name == "config.json" || name == "model.safetensors.index.json" || model::is_side_file(name);
    has_weights |= is_weights;
    (is_weights || (is_file && is_beside) ? others : foreign).push_back(name);
  }
  if (!has_weights) foreign.insert(foreign.end(), others.begin(), others.end());
  std::ranges::sort(foreign);
  return foreign;
}

std::int64_t estimated_bytes(const model::Checkpoint& original, at::ScalarType stored, const SaveFormat& format,
                             const std::vector<PlannedLinear>& linears) {
  auto bytes = side_file_bytes(original);
  std::set<std::string> quantized;  // names of tensors that others replace
  for (const auto& [shape, block, plan] : linears) {
    if (!plan) continue;
    quantized.insert(stored_name(original, shape.name + ".weight"));
    if (format.holds_codes) {
      for (const auto& part : formats::encode_packed(shape.name, outline(shape, *plan))) {
        bytes += bytes_of(part.shape, part.type);
      }
    } else {
      bytes += bytes_of({shape.out, shape.in}, stored);
    }
  }
  const TypesInResult types(original, stored);
  for (const auto& name : original.tensors->names()) {
    if (quantized.contains(name)) continue;
    bytes += bytes_of(original.tensors->info(name).shape, types.of(name));
  }
  return bytes;
}

}  // namespace normtweak::pipeline
