#include "normtweak/pipeline/converted_folder.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <map>
#include <numeric>
#include <set>

#include "normtweak/base/about.h"
#include "normtweak/model/checkpoint_readers.h"
#include "normtweak/model/decoder.h"
#include "normtweak/model/unread_tensors.h"
#include "normtweak/pipeline/save_formats.h"
#include "normtweak/pipeline/saved_folder.h"
#include "normtweak/weights/exact_affine.h"

namespace normtweak::pipeline {
namespace {

using formats::QuantizedModule;
using formats::TensorToWrite;

class ConvertedFolder : public ConvertedModel {
 public:
  ConvertedFolder(const model::Checkpoint& source, const SaveFormat& format) : source_(source), format_(format) {
    for (const auto& [name, family_name] : model::family_names(source)) family_names_.emplace(name, family_name);
    list_linears();
    quantization_ = quantization_config(source, format, quantized_, floats_);
    list_tensors();
  }

  std::int64_t linears() const override { return static_cast<std::int64_t>(quantized_.size()); }

  std::string from() const override {
    std::set<std::string> kinds;
    for (const auto& stored : modules_) kinds.emplace(source_.tensors->info(stored.first).stored_as);
    return fmt::format("{}", fmt::join(kinds, ", "));
  }

  std::int64_t bytes() const override {
    return std::transform_reduce(tensors_.begin(), tensors_.end(), std::int64_t{0}, std::plus<>(), bytes_of);
  }

  std::vector<formats::Reader> readers() const override {
    return format_.codes->readers(quantization_, quantized_, floats_, head_);
  }

  void write(const std::filesystem::path& output) const override {
    write_folder(source_, {tensors_, config(), quantization_, format_.codes->side_file}, output);
  }

 private:
  void list_tensors() {
    for (const auto& stored : source_.tensors->names()) {
      const auto module = modules_.find(stored);
      if (module == modules_.end()) {
        tensors_.push_back(copied(stored));
      } else {
        std::ranges::move(encoded(stored, module->second), std::back_inserter(tensors_));
      }
    }
  }

  // Where floats were blocks of another type, they are F32 now.
  Json config() const {
    auto config = config_with(source_, quantization_);
    const bool widens = output_kind_of(source_) == OutputKind::file &&
                        std::ranges::any_of(tensors_, [](const auto& tensor) { return tensor.type == at::kFloat; });
    if (widens) set_type(config, at::kFloat);
    return config;
  }

  // The settings of each, of which some only the data tell.
  void list_linears() {
    auto found = model::linears_by_kind(source_);
    const std::string head(source_.family->head.name);
    const bool is_file = output_kind_of(source_) == OutputKind::file;
    floats_ = std::move(found.floats);
    for (auto& [name, outline, input] : found.quantized) {
      if (is_file && name == head) {  // as llama.cpp's tools leave it, in a type of its own
        floats_.push_back(name);
        continue;
      }
      const auto stored = stored_name(source_, name + ".weight");
      quantized_.push_back(
          {name, weights::without_data(weight(stored, name)), source_.tensors->input_quantizer(stored)});
      modules_.emplace(stored, quantized_.size() - 1);
      head_ |= name == head;
    }
    if (quantized_.empty()) fail("{}: no linear is quantized, so there are no codes to convert", source_.path);
  }

  weights::AffineWeight weight(const std::string& stored, const std::string& name) const {
    return about(fmt::format("{}: {}", source_.path, name), [&] {
      auto weight = source_.tensors->read_weight(stored);
      if (!weight) fail("holds no codes");
      return weights::exact_affine(*weight, format_.codes->scale_type);
    });
  }

  // Each tensor is packed when it is written, from the codes as they are read then.
  std::vector<TensorToWrite> encoded(const std::string& stored, std::size_t index) const {
    const auto& module = quantized_[index];
    return encoded_when_written(*format_.codes, quantization_, module,
                                [this, stored, name = module.name] { return weight(stored, name); });
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
  std::vector<TensorToWrite> tensors_;
};

}  // namespace

std::unique_ptr<ConvertedModel> converted_folder(const model::Checkpoint& source, const SaveFormat& format) {
  return std::make_unique<ConvertedFolder>(source, format);
}

}  // namespace normtweak::pipeline
