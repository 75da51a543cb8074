#include "normtweak/pipeline/convert_model.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <set>

#include "normtweak/base/error.h"
#include "normtweak/model/checkpoint_readers.h"
#include "normtweak/model/decoder.h"
#include "normtweak/model/unread_tensors.h"
#include "normtweak/pipeline/preflight.h"
#include "normtweak/pipeline/save_checkpoint.h"
#include "normtweak/weights/exact_affine.h"

namespace normtweak::pipeline {
namespace {

using formats::QuantizedModule;
using formats::TensorToWrite;

// Runs `action` and prefixes the message of its Error with the linear's name.
template <class Action>
auto for_linear(const std::string& path, const std::string& name, const Action& action) {
  try {
    return action();
  } catch (const Error& error) {
    fail("{}: {}: {}", path, name, error.what());
  }
}

class Conversion {
 public:
  Conversion(const model::Checkpoint& source, const SaveFormat& format) : source_(source), format_(format) {
    for (const auto& [name, family_name] : model::family_names(source)) family_names_.emplace(name, family_name);
    list_linears();
    quantization_ = quantization_config(source, format, quantized_, floats_);
  }

  std::vector<TensorToWrite> tensors() const {
    std::vector<TensorToWrite> all;
    for (const auto& stored : source_.tensors->names()) {
      const auto module = modules_.find(stored);
      if (module == modules_.end()) {
        all.push_back(copied(stored));
      } else {
        std::ranges::move(encoded(stored, module->second), std::back_inserter(all));
      }
    }
    return all;
  }

  // Where floats were blocks of another type, they are F32 now.
  Json config(const std::vector<TensorToWrite>& tensors) const {
    auto config = config_with(source_, quantization_);
    const bool widens = !std::filesystem::is_directory(source_.path) &&
                        std::ranges::any_of(tensors, [](const auto& tensor) { return tensor.type == at::kFloat; });
    if (widens) set_type(config, at::kFloat);
    return config;
  }

  const Json& quantization() const { return quantization_; }
  std::int64_t linears() const { return static_cast<std::int64_t>(quantized_.size()); }
  std::string from() const {
    std::set<std::string> kinds;
    for (const auto& stored : modules_) kinds.emplace(source_.tensors->info(stored.first).stored_as);
    return fmt::format("{}", fmt::join(kinds, ", "));
  }
  std::vector<formats::Reader> readers() const {
    return format_.codes->readers(quantization_, quantized_, floats_, head_);
  }

 private:
  // The settings of each, of which some only the data tell.
  void list_linears() {
    auto found = model::linears_by_kind(source_);
    const std::string head(source_.family->head.name);
    const bool is_file = !std::filesystem::is_directory(source_.path);
    floats_ = std::move(found.floats);
    for (auto& [name, outline] : found.quantized) {
      if (is_file && name == head) {  // as llama.cpp's tools leave it, in a type of its own
        floats_.push_back(name);
        continue;
      }
      const auto stored = stored_name(source_, name + ".weight");
      quantized_.push_back({name, weights::without_data(weight(stored, name))});
      modules_.emplace(stored, quantized_.size() - 1);
      head_ |= name == head;
    }
    if (quantized_.empty()) fail("{}: no linear is quantized, so there are no codes to convert", source_.path);
  }

  weights::AffineWeight weight(const std::string& stored, const std::string& name) const {
    return for_linear(source_.path, name, [&] {
      auto weight = source_.tensors->read_weight(stored);
      if (!weight) fail("holds no codes");
      return weights::exact_affine(*weight, format_.codes->scale_type);
    });
  }

  // Each tensor is packed when it is written, from the codes as they are read then.
  std::vector<TensorToWrite> encoded(const std::string& stored, std::size_t index) const {
    const auto& [name, outline] = quantized_[index];
    auto parts = format_.codes->encode(quantization_, name, outline);
    for (std::size_t part = 0; part < parts.size(); ++part) {
      parts[part].load = [this, stored, name = name, part] {
        return format_.codes->encode(quantization_, name, weight(stored, name))[part].load();
      };
    }
    return parts;
  }

  TensorToWrite copied(const std::string& stored) const {
    const auto found = family_names_.find(stored);
    const auto info = source_.tensors->info(stored);
    return {found != family_names_.end() ? found->second : stored, info.type, info.shape,
            [source = source_.tensors, stored] { return source->read(stored).contiguous(); }};
  }

  const model::Checkpoint& source_;
  const SaveFormat& format_;
  std::map<std::string, std::string> family_names_;  // by the name in the source
  std::vector<QuantizedModule> quantized_;           // without data
  std::map<std::string, std::size_t> modules_;       // the place in `quantized_`, by the name in the source
  std::vector<std::string> floats_;
  bool head_ = false;  // whether it is quantized
  Json quantization_;
};

std::int64_t bytes_of(const std::vector<TensorToWrite>& tensors) {
  std::int64_t bytes = 0;
  for (const auto& tensor : tensors) {
    bytes += c10::multiply_integers(tensor.shape) * static_cast<std::int64_t>(c10::elementSize(tensor.type));
  }
  return bytes;
}

}  // namespace

ConvertResult convert_model(const ConvertOptions& options, ProgressSink& progress) {
  const auto& format = find_save_format(options.format);
  if (format.codes == nullptr) {
    fail("--format {}: holds no codes, so that a conversion would lose them; choose a format with codes", format.name);
  }
  const auto source = model::open_checkpoint(options.model);
  report_notes(source, progress);
  model::refuse_unread_tensors(source);
  note_missing_tokenizer(source, progress);
  check_output(options.output, inputs({&source}, {}, {}), 0);
  const Conversion conversion(source, format);
  auto tensors = conversion.tensors();
  ConvertResult result = {.from = conversion.from(),
                          .to = std::string(format.name),
                          .linears = conversion.linears(),
                          .bytes = bytes_of(tensors),
                          .readers = conversion.readers()};
  check_output(options.output, inputs({&source}, {}, {}), result.bytes);
  progress.note(fmt::format("{}: {}", options.output.string(), formats::readers_line(result.readers)));
  auto config = conversion.config(tensors);
  write_folder(source, {std::move(tensors), std::move(config), conversion.quantization()}, options.output, format);
  return result;
}

}  // namespace normtweak::pipeline
