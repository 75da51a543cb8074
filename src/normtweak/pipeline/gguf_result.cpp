#include "normtweak/pipeline/gguf_result.h"

#include <algorithm>
#include <map>
#include <utility>

#include "normtweak/base/error.h"
#include "normtweak/pipeline/gguf_file.h"
#include "normtweak/pipeline/save_formats.h"

namespace normtweak::pipeline {
namespace {

bool is_quantized(const formats::GgmlType& type) { return type.layout.has_value(); }

const formats::GgmlType* type_in_plan(const PlannedLinear& linear, const formats::GgmlType& prescribed) {
  if (linear.plan && !linear.plan->block_type.empty()) return &formats::ggml_type_named(linear.plan->block_type);
  return linear.plan || !is_quantized(prescribed) ? &prescribed : &formats::ggml_type_named("F32");
}

std::vector<GgufTensor> preset_tensors(const model::Checkpoint& original, const formats::GgufPreset& preset) {
  auto tensors = gguf_file_tensors(original);
  set_preset_types(tensors, original, preset);
  return tensors;
}

class GgufResult : public ResultWriter {
 public:
  GgufResult(const model::Checkpoint& original, const formats::GgufPreset& preset)
      : original_(original), contents_(original, preset_tensors(original, preset), preset.file_type) {}

  // llama.cpp keeps norms and biases in F32; the types of matrices are those of the preset.
  at::ScalarType float_type() const override { return at::kFloat; }

  BlockTypes block_types() const override {
    BlockTypes types;
    const auto& tensors = contents_.tensors();
    if (std::ranges::none_of(tensors, is_quantized, [](const auto& tensor) -> auto& { return *tensor.type; }))
      return types;
    constexpr std::string_view kWeight = ".weight";
    for (const auto& tensor : tensors) {
      for (const auto& part : tensor.parts) {
        if (!part.name.ends_with(kWeight)) continue;
        const auto module = part.name.substr(0, part.name.size() - kWeight.size());
        types[module] = is_quantized(*tensor.type) ? std::string(tensor.type->name) : std::string();
      }
    }
    return types;
  }

  std::int64_t follow(const std::vector<PlannedLinear>& linears) override {
    std::map<std::string, const PlannedLinear*> by_tensor;
    for (const auto& linear : linears) by_tensor[linear.shape.name + ".weight"] = &linear;
    for (auto& tensor : contents_.tensors()) follow(tensor, by_tensor);
    return contents_.bytes();
  }

  void check_floats(const quantize::QuantizationPlan& /*plan*/) const override {}  // each is checked as it is written

  bool rounds_outside() const override { return true; }

  model::Decoder as_stored_outside(model::Decoder decoder) const override {
    const auto round = [&](at::Tensor& values, const std::string& module) {
      const auto* type = values.defined() ? type_of(module + ".weight") : nullptr;
      if (type != nullptr) values = as_read(values, *type, module);
    };
    const auto& family = *original_.family;
    round(decoder.embedding, std::string(family.embedding.name));
    round(decoder.positions, std::string(family.positions.name));
    if (auto* head = std::get_if<weights::FloatWeight>(&decoder.head.weight)) {
      if (original_.numbers.tied_head) {
        head->values = decoder.embedding;
      } else {
        round(head->values, std::string(family.head.name));
      }
    }
    return decoder;
  }

  void write(const model::Decoder& decoder, const std::filesystem::path& output,
             const std::filesystem::path& copy) const override {
    const GgufValues values(original_, values_of(decoder));
    if (copy.empty()) return contents_.write(values, output);
    contents_.write(values, copy, change_file);
    put_in_place(copy, resolve_output(output));
  }

  bool copy_has_format_of_result() const override { return true; }
  std::int64_t copy_bytes(const model::Decoder& /*decoder*/) const override { return contents_.bytes(); }
  void write_copy(const model::Decoder& decoder, const std::filesystem::path& place) const override {
    write(decoder, place, {});
  }

 private:
  static void follow(GgufTensor& tensor, const std::map<std::string, const PlannedLinear*>& by_tensor) {
    const auto* prescribed = tensor.type;
    if (tensor.parts.empty()) return;
    tensor.type = nullptr;
    for (const auto& part : tensor.parts) {
      const auto found = by_tensor.find(part.name);
      const bool is_free = found == by_tensor.end() || model::stays_float(found->second->shape.role);
      const auto* type = is_free ? prescribed : type_in_plan(*found->second, *prescribed);
      if (tensor.type != nullptr && type != tensor.type) {
        fail("{}: is planned as {}, and {} as {}; they are one tensor of a GGUF file, {}", part.name, type->name,
             tensor.parts.front().name, tensor.type->name, tensor.name);
      }
      tensor.type = type;
    }
  }

  // Of one of the model's tensors, by its Hugging Face name; null if the file has no such tensor.
  const formats::GgmlType* type_of(const std::string& name) const {
    for (const auto& tensor : contents_.tensors()) {
      if (std::ranges::find(tensor.parts, name, &model::GgufPlace::name) != tensor.parts.end()) return tensor.type;
    }
    return nullptr;
  }

  const model::Checkpoint& original_;
  GgufContents contents_;
};

}  // namespace

std::unique_ptr<ResultWriter> gguf_result(const model::Checkpoint& original, const SaveFormat& /*format*/,
                                          const StoreOptions& options) {
  return std::make_unique<GgufResult>(original, formats::find_gguf_preset(options.gguf_type));
}

}  // namespace normtweak::pipeline
