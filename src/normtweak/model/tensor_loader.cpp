#include "normtweak/model/tensor_loader.h"

#include "normtweak/base/device/finite.h"
#include "normtweak/base/device/host_transfer.h"
#include "normtweak/base/device/type_name.h"
#include "normtweak/base/error.h"
#include "normtweak/model/foreign_names.h"

namespace normtweak::model {

TensorLoader::TensorLoader(const Checkpoint& checkpoint, c10::Device device, at::ScalarType type)
    : checkpoint_(checkpoint), device_(device), type_(type) {}

std::string TensorLoader::formula(Dimension dimension) const {
  return model::formula(dimension, *checkpoint_.family,
                        [&](std::string_view key) { return key_name(checkpoint_, key); });
}

void TensorLoader::check(const std::string& name, const std::string& stored,
                         const std::vector<Dimension>& shape) const {
  if (!checkpoint_.tensors->contains(stored)) fail_missing(checkpoint_, name);
  std::vector<std::int64_t> expected;
  for (const auto dimension : shape) expected.push_back(size_of(dimension, checkpoint_.numbers));
  const auto found = checkpoint_.tensors->info(stored).shape;
  if (found == expected) return;
  std::string reasons;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (found.size() == shape.size() && found[i] == expected[i]) continue;
    reasons += fmt::format("{}{} is {}", reasons.empty() ? "" : ", ", formula(shape[i]), expected[i]);
  }
  fail("{}: shape {} expected, the file has {}; {}, which is not so in this model",
       described(*checkpoint_.tensors, stored), c10::str(at::IntArrayRef(expected)), c10::str(at::IntArrayRef(found)),
       reasons);
}

at::Tensor TensorLoader::floats(const std::string& name, const std::vector<Dimension>& shape,
                                at::ScalarType type) const {
  const auto stored = stored_name(checkpoint_, name);
  check(name, stored, shape);
  const auto tensor = checkpoint_.tensors->read(stored);
  if (!tensor.is_floating_point()) {
    fail("{}: a float type expected, the file has {}", described(*checkpoint_.tensors, stored),
         type_name(tensor.scalar_type()));
  }
  auto loaded = to_device(tensor, device_, type);
  if (!all_finite(loaded)) {
    fail("{} holds NaN or infinity{}; the file is damaged or was saved from a failed run",
         described(*checkpoint_.tensors, stored),
         type == tensor.scalar_type() ? "" : fmt::format(" as {}", type_name(type)));
  }
  return loaded;
}

std::optional<weights::Weight> TensorLoader::coded_weight(const LinearShape& shape, Layout layout) const {
  const auto name = shape.name + ".weight", stored = stored_name(checkpoint_, name);
  const bool turned = layout == Layout::in_out;
  check(name, stored, {turned ? shape.columns : shape.rows, turned ? shape.rows : shape.columns});
  auto weight = checkpoint_.tensors->read_weight(stored);
  if (!weight) {
    if (checkpoint_.quantized == nullptr || !checkpoint_.quantized->expects_codes(shape.name)) return std::nullopt;
    fail("{}: is float, and the config says that this linear is quantized", described(*checkpoint_.tensors, stored));
  }
  for (const auto& floats : weights::code_floats(*weight)) {
    if (all_finite(*floats.values)) continue;
    fail("{}: its {} hold NaN or infinity; the file is damaged", described(*checkpoint_.tensors, stored), floats.name);
  }
  return weights::to_device(*weight, device_);
}

Norm TensorLoader::norm(const NormShape& shape) const {
  Norm norm;
  norm.name = shape.name;
  norm.kind = checkpoint_.family->norm;
  norm.shift = checkpoint_.family->norm_shift;
  norm.epsilon = checkpoint_.numbers.norm_epsilon;
  norm.weight = floats(shape.name + ".weight", shape.dimensions, at::kFloat);
  if (shape.has_bias) norm.bias = floats(shape.name + ".bias", shape.dimensions, at::kFloat);
  norm.stored_type = kept_type(shape.name + ".weight");
  return norm;
}

// Codes of a folder are [out, in], whatever the layout of the family.
Layout TensorLoader::layout_of(const LinearShape& shape, Layout layout) const {
  if (layout == Layout::out_in || checkpoint_.quantized == nullptr) return layout;
  const auto stored = stored_name(checkpoint_, shape.name + ".weight");
  const bool has_codes = checkpoint_.tensors->contains(stored) && checkpoint_.tensors->outline(stored).has_value();
  return has_codes ? Layout::out_in : layout;
}

weights::Weight TensorLoader::weight(const LinearShape& shape, Layout family_layout) const {
  const auto layout = layout_of(shape, family_layout);
  if (checkpoint_.keeps_codes) {
    if (auto weight = coded_weight(shape, layout)) return *weight;
  }
  const auto name = shape.name + ".weight";
  if (layout == Layout::out_in) return weights::FloatWeight{floats(name, {shape.rows, shape.columns}, type_)};
  return weights::FloatWeight{floats(name, {shape.columns, shape.rows}, type_).t().contiguous()};
}

Linear TensorLoader::linear(const LinearShape& shape, Layout layout) const {
  Linear linear;
  linear.name = shape.name;
  linear.weight = weight(shape, layout);
  if (weights::is_quantized(linear.weight)) {
    linear.input_quantizer = checkpoint_.tensors->input_quantizer(stored_name(checkpoint_, shape.name + ".weight"));
  }
  if (shape.has_bias) {
    linear.bias = floats(shape.name + ".bias", {shape.rows}, at::kFloat);
    linear.stored_bias_type = kept_type(shape.name + ".bias");
  } else {
    refuse_bias(shape);
  }
  return linear;
}

std::optional<at::ScalarType> TensorLoader::kept_type(const std::string& name) const {
  if (!checkpoint_.keeps_codes) return std::nullopt;
  return checkpoint_.tensors->info(stored_name(checkpoint_, name)).type;
}

// Ignoring a bias would silently compute a different model. Zero biases are harmless.
void TensorLoader::refuse_bias(const LinearShape& shape) const {
  const auto name = shape.name + ".bias", stored = stored_name(checkpoint_, name);
  if (!checkpoint_.tensors->contains(stored)) return;
  if (!floats(name, {shape.rows}, at::kFloat).any().item<bool>()) return;
  fail("{}: no bias expected from the config, the file has one; the config is not this model's",
       described(*checkpoint_.tensors, stored));
}

}  // namespace normtweak::model
