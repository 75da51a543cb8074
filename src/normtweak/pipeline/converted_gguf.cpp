#include "normtweak/pipeline/converted_gguf.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "normtweak/base/about.h"
#include "normtweak/base/device/type_name.h"
#include "normtweak/pipeline/gguf_file.h"
#include "normtweak/pipeline/output_kind.h"
#include "normtweak/weights/exact_blocks.h"

namespace normtweak::pipeline {
namespace {

using weights::BlockType;

// Chooses the types of the file's tensors.
class Types {
 public:
  explicit Types(const model::Checkpoint& source) : source_(source) {}

  void set(GgufTensor& tensor) {
    const auto has_codes = [&](const model::GgufPlace& part) { return outline(part.name).has_value(); };
    const auto coded = std::ranges::find_if(tensor.parts, has_codes);
    if (coded == tensor.parts.end()) return set_float(tensor);
    const auto uncoded = std::ranges::find_if_not(tensor.parts, has_codes);
    if (uncoded != tensor.parts.end()) {
      fail("{}: {} is quantized, and {} is not; they are one tensor of a GGUF file, {}", source_.path, coded->name,
           uncoded->name, tensor.name);
    }
    set_blocks(tensor);
  }

  std::int64_t linears() const { return linears_; }
  std::string kinds() const { return fmt::format("{}", fmt::join(kinds_, ", ")); }

  // The block type of most weights.
  std::string_view main_type() const {
    if (weights_.empty()) fail("{}: no linear is quantized, so there are no codes to convert", source_.path);
    return std::ranges::max_element(weights_, {}, [](const auto& entry) { return entry.second; })->first;
  }

 private:
  std::optional<weights::Weight> outline(const std::string& name) const {
    return source_.tensors->outline(stored_name(source_, name));
  }

  // tensor: with the type that llama.cpp gives it in a file of 16 bits.
  void set_float(GgufTensor& tensor) const {
    if (tensor.parts.empty()) return;
    std::set<at::ScalarType> types;
    for (const auto& part : tensor.parts) {
      const auto stored = stored_name(source_, part.name);
      const auto type = source_.tensors->info(stored).type;
      if (type == at::kDouble) fail("{}: is F64, which GGUF lacks", described(*source_.tensors, stored));
      types.insert(type);
    }
    if (tensor.type->name == "F32") return;
    const bool is_shifted = tensor.parts.front().shift != 0;
    const auto type = types.size() > 1 || is_shifted ? at::kFloat : *types.begin();
    tensor.type = &formats::ggml_type_named(type_name(type));
  }

  // Of experts, the smallest type that holds each of them.
  void set_blocks(GgufTensor& tensor) {
    std::vector<const BlockType*> shared;
    for (const auto& part : tensor.parts) {
      const auto stored = stored_name(source_, part.name);
      if (source_.tensors->input_quantizer(stored)) {
        fail("{}: the input of {} is rounded, which GGUF cannot say", source_.path, part.name);
      }
      const auto own = about(described(*source_.tensors, stored),
                             [&] { return weights::exact_block_types(*source_.tensors->read_weight(stored)); });
      if (&part == &tensor.parts.front()) shared = own;
      std::erase_if(shared, [&](const auto* type) { return std::ranges::find(own, type) == own.end(); });
      kinds_.emplace(source_.tensors->info(stored).stored_as);
      ++linears_;
    }
    if (shared.empty()) {
      fail("{}: the parts of {} are exact in different block types; they are one tensor of a GGUF file", source_.path,
           tensor.name);
    }
    tensor.type = &formats::ggml_type_named(shared.front()->name);
    weights_[tensor.type->name] += c10::multiply_integers(tensor.shape);
  }

  const model::Checkpoint& source_;
  std::int64_t linears_ = 0;
  std::set<std::string> kinds_;
  std::map<std::string_view, std::int64_t> weights_;  // how many, by block type
};

class ConvertedGguf : public ConvertedModel {
 public:
  explicit ConvertedGguf(const model::Checkpoint& source) : source_(source), types_(source) {
    if (output_kind_of(source) == OutputKind::file) {
      fail("{}: is a GGUF file already; there is nothing to convert", source.path);
    }
    auto tensors = gguf_file_tensors(source);
    set_preset_types(tensors, source, formats::find_gguf_preset("F16"));
    for (auto& tensor : tensors) types_.set(tensor);
    contents_.emplace(source, std::move(tensors), formats::find_gguf_preset(types_.main_type()).file_type);
  }

  std::int64_t linears() const override { return types_.linears(); }
  std::string from() const override { return types_.kinds(); }
  std::int64_t bytes() const override { return contents_->bytes(); }
  std::vector<formats::Reader> readers() const override { return formats::gguf_readers(); }

  void write(const std::filesystem::path& output) const override {
    GgufValues::Makers weights;
    for (const auto& tensor : contents_->tensors()) {
      const auto* type = weights::find_block_type(tensor.type->name);
      if (type == nullptr) continue;
      for (const auto& part : tensor.parts) {
        const auto stored = stored_name(source_, part.name);
        weights[part.name] = [this, stored, type] {
          return weights::exact_blocks(*source_.tensors->read_weight(stored), *type);
        };
      }
    }
    contents_->write(GgufValues(source_, std::move(weights)), output);
  }

 private:
  const model::Checkpoint& source_;
  Types types_;
  std::optional<GgufContents> contents_;
};

}  // namespace

std::unique_ptr<ConvertedModel> converted_gguf(const model::Checkpoint& source, const SaveFormat& /*format*/) {
  return std::make_unique<ConvertedGguf>(source);
}

}  // namespace normtweak::pipeline
