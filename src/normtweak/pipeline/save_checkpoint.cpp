#include "normtweak/pipeline/save_checkpoint.h"

#include <map>
#include <memory>
#include <set>
#include <vector>

#include "normtweak/base/device/finite.h"
#include "normtweak/formats/safetensors.h"
#include "normtweak/model/unread_tensors.h"
#include "normtweak/pipeline/saved_folder.h"
#include "normtweak/pipeline/stored_floats.h"
#include "normtweak/pipeline/types_in_result.h"

namespace normtweak::pipeline {
namespace fs = std::filesystem;
namespace {

using formats::TensorToWrite;

// Collects the tensors of the new file, in the order of the old one.
class Contents {
 public:
  Contents(const model::Checkpoint& original, const model::Decoder& decoder, const SaveFormat& format)
      : original_(original),
        format_(format),
        stored_(decoder.config.stored_type),
        types_(original, stored_),
        family_names_(model::family_names(original)),
        blocks_(std::make_shared<const model::BlockStore>(decoder.blocks)) {
    list_linear(decoder.head, std::string(original.family->head.name));  // a tied head has the embedding's name
    for_each_block([&](const model::Block& block, int) {
      for (const auto& part : block.linears) list_linear(part.linear, part.linear.name);
    });
    if (format.codes != nullptr && !quantized_.empty()) {
      quantization_ = quantization_config(original, format, quantized_, float_linears_);
    }
    add_head(decoder.head);
    for_each_block([&](const model::Block& block, int index) { add_block(block, index); });
    if (decoder.final_norm.kind != model::NormKind::none) add_norm(decoder.final_norm);
  }

  std::vector<TensorToWrite> tensors() const {
    std::vector<TensorToWrite> all;
    for (const auto& name : original_.tensors->names()) {
      if (const auto changed = changed_.find(name); changed != changed_.end()) {
        all.insert(all.end(), changed->second.begin(), changed->second.end());
      } else {
        all.push_back(copied(name));
      }
    }
    return all;
  }

  Json config() const {
    auto config = config_with(original_, quantization_);
    if (types_.converts()) set_type(config, stored_);
    return config;
  }

  // Null if the result is float.
  const Json& quantization() const { return quantization_; }

 private:
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
        {family_name, type, values.sizes().vec(), [values, type, what = described(*original_.tensors, name)] {
           return as_stored(values.cpu().contiguous(), type, what);
         }}};
  }

  void add_norm(const model::Norm& norm) {
    add_floats(norm.name + ".weight", norm.weight);
    if (norm.bias.defined()) add_floats(norm.name + ".bias", norm.bias);
  }

  void for_each_block(const auto& visit) const {
    for (int i = 0; i < blocks_->size(); ++i) visit(blocks_->outlined(i), i);
  }

  void list_linear(const model::Linear& linear, const std::string& name) {
    if (weights::is_quantized(linear.weight)) {
      quantized_.push_back({name, linear.weight, linear.input_quantizer});
    } else {
      float_linears_.push_back(name);
    }
  }

  // This program never changes a head, but some others quantize it as well.
  void add_head(const model::Linear& head) {
    if (!weights::is_quantized(head.weight)) return;
    add_weight(head, model::Layout::out_in, [weight = head.weight] { return weight; });
  }

  void add_block(const model::Block& block, int index) {
    for (const auto& [role, norm] : block.norms) add_norm(norm);
    for (std::size_t part = 0; part < block.linears.size(); ++part) {
      const auto& linear = block.linears[part].linear;
      if (linear.bias.defined()) add_floats(linear.name + ".bias", linear.bias);
      if (weights::is_quantized(linear.weight)) {
        add_weight(linear, original_.family->linear_layout,
                   [blocks = blocks_, index, part] { return blocks->weight(index, part); });
      } else if (linear.changed) {
        add_changed_floats(linear);
      }
    }
  }

  void add_changed_floats(const model::Linear& linear) {
    const auto values = weights::dequantize(linear.weight);
    const bool transposed = original_.family->linear_layout == model::Layout::in_out;
    add_floats(linear.name + ".weight", transposed ? values.t() : values);
  }

  // outline: the linear, whose codes may have no values; weight: the whole.
  void add_weight(const model::Linear& outline, model::Layout layout, const WeightMaker& weight) {
    changed_[stored_name(original_, outline.name + ".weight")] =
        format_.codes != nullptr ? encoded_when_written(*format_.codes, quantization_,
                                                        {outline.name, outline.weight, outline.input_quantizer}, weight)
                                 : dequantized(outline, layout, weight);
  }

  std::vector<TensorToWrite> dequantized(const model::Linear& linear, model::Layout layout,
                                         const WeightMaker& weight) const {
    const bool transposed = layout == model::Layout::in_out;
    auto shape = weights::shape(linear.weight).vec();
    if (transposed) std::swap(shape[0], shape[1]);
    const auto load = [weight, transposed, type = stored_,
                       what = fmt::format("{}: tensor {}.weight", original_.path, linear.name)] {
      const auto whole = weight();
      const auto values = model::values(whole, type);
      if (!all_finite(values)) as_stored(model::values(whole, at::kFloat), type, what);
      return transposed ? values.t().contiguous() : values;
    };
    return {{linear.name + ".weight", stored_, shape, load}};
  }

  const model::Checkpoint& original_;
  const SaveFormat& format_;
  at::ScalarType stored_;
  TypesInResult types_;
  std::map<std::string, std::string> family_names_;  // by the name in the original
  std::shared_ptr<const model::BlockStore> blocks_;
  std::map<std::string, std::vector<TensorToWrite>> changed_;  // by the name of the original's tensor
  std::vector<formats::QuantizedModule> quantized_;
  std::vector<std::string> float_linears_;
  Json quantization_;  // the config of the quantized linears
};

std::int64_t bytes_of(at::IntArrayRef shape, at::ScalarType type) {
  return c10::multiply_integers(shape) * static_cast<std::int64_t>(c10::elementSize(type));
}

}  // namespace

void save_checkpoint(const model::Checkpoint& original, const model::Decoder& decoder, const fs::path& directory,
                     const SaveFormat& format, const fs::path& start) {
  const Contents contents(original, decoder, format);
  const auto side_file = format.codes != nullptr ? format.codes->side_file : std::string_view();
  write_folder(original, {contents.tensors(), contents.config(), contents.quantization(), side_file}, directory, start);
}

std::int64_t saved_bytes(const model::Checkpoint& original, const model::Decoder& decoder, const SaveFormat& format) {
  auto bytes = side_file_bytes(original);
  for (const auto& tensor : Contents(original, decoder, format).tensors()) bytes += bytes_of(tensor);
  return bytes;
}

std::int64_t estimated_bytes(const model::Checkpoint& original, at::ScalarType stored, const SaveFormat& format,
                             const std::vector<PlannedLinear>& linears) {
  auto bytes = side_file_bytes(original);
  std::vector<formats::QuantizedModule> modules;
  for (const auto& [shape, block, plan] : linears) {
    if (plan) modules.push_back(outlined_module(shape, *plan));
  }
  Json config;
  if (format.codes != nullptr && !modules.empty()) config = quantization_config(original, format, modules, {});
  std::set<std::string> quantized;  // names of tensors that others replace
  for (const auto& [shape, block, plan] : linears) {
    if (!plan) continue;
    quantized.insert(stored_name(original, shape.name + ".weight"));
    if (format.codes != nullptr) {
      for (const auto& part : format.codes->encode(config, outlined_module(shape, *plan))) {
        bytes += bytes_of(part);
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
