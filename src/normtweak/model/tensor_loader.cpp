#include "normtweak/model/tensor_loader.h"

#include "normtweak/base/error.h"
#include "normtweak/base/finite.h"

namespace normtweak::model {

TensorLoader::TensorLoader(const Checkpoint& checkpoint, c10::Device device, at::ScalarType type)
    : checkpoint_(checkpoint), device_(device), type_(type) {
  if (!is_quantized(checkpoint)) return;
  const auto& config = checkpoint.config.at("quantization_config");
  const auto origin = checkpoint.path + "/config.json";
  if (!formats::is_packed_config(config)) {
    const bool has_method = config.is_object() && config.contains("quant_method");
    fail("{}: quantization_config: method {} is not supported; supported is compressed-tensors (pack-quantized)",
         origin, show(has_method ? config.at("quant_method") : config));
  }
  packed_.emplace(config, origin);
}

at::Tensor TensorLoader::floats(const std::string& name, at::IntArrayRef shape, at::ScalarType type) const {
  const auto stored = stored_name(checkpoint_, name);
  const auto tensor = formats::read_with_shape(*checkpoint_.tensors, stored, shape);
  if (!tensor.is_floating_point()) {
    fail("{}: a float type expected, the file has {}", described(*checkpoint_.tensors, stored),
         c10::toString(tensor.scalar_type()));
  }
  auto loaded = tensor.to(device_, type, /*non_blocking=*/false, /*copy=*/true);
  if (!all_finite(loaded)) {
    fail("{} holds NaN or infinity{}; the file is damaged or was saved from a failed run",
         described(*checkpoint_.tensors, stored),
         type == tensor.scalar_type() ? "" : fmt::format(" as {}", c10::toString(type)));
  }
  return loaded;
}

weights::Weight TensorLoader::packed_weight(const std::string& module, const formats::PackedSettings& settings,
                                            std::int64_t out, std::int64_t in) const {
  auto weight = formats::decode_packed(*checkpoint_.tensors, stored_module(checkpoint_, module), settings);
  const auto found = weights::shape(weight);
  if (found != at::IntArrayRef({out, in})) {
    fail("{}: linear {}: shape [{}, {}] expected from config.json, the file has {}", checkpoint_.path, module, out, in,
         c10::str(found));
  }
  return weights::to_device(weight, device_);
}

Norm TensorLoader::norm(const std::string& module) const {
  Norm norm;
  norm.name = module;
  norm.kind = checkpoint_.family->norm;
  norm.epsilon = checkpoint_.numbers.norm_epsilon;
  norm.weight = floats(module + ".weight", {checkpoint_.numbers.hidden}, at::kFloat);
  if (norm.kind == NormKind::layer) norm.bias = floats(module + ".bias", {checkpoint_.numbers.hidden}, at::kFloat);
  return norm;
}

weights::Weight TensorLoader::weight(const std::string& module, std::int64_t out, std::int64_t in,
                                     Layout layout) const {
  if (packed_) {
    if (const auto settings = packed_->settings_of(module)) return packed_weight(module, *settings, out, in);
  }
  const auto name = module + ".weight";
  if (layout == Layout::in_out) {
    return weights::FloatWeight{floats(name, {in, out}, type_).t().contiguous()};
  }
  return weights::FloatWeight{floats(name, {out, in}, type_)};
}

Linear TensorLoader::linear(const std::string& module, std::int64_t out, std::int64_t in, bool has_bias,
                            Layout layout) const {
  Linear linear;
  linear.name = module;
  linear.weight = weight(module, out, in, layout);
  if (has_bias) {
    linear.bias = floats(module + ".bias", {out}, at::kFloat);
  } else {
    refuse_bias(module + ".bias", out);
  }
  return linear;
}

// Ignoring a bias would silently compute a different model. Zero biases are harmless.
void TensorLoader::refuse_bias(const std::string& name, std::int64_t out) const {
  const auto stored = stored_name(checkpoint_, name);
  if (!checkpoint_.tensors->contains(stored) || !floats(name, {out}, at::kFloat).any().item<bool>()) return;
  fail("{}: no bias expected from the config, the file has one; the config is not this model's",
       described(*checkpoint_.tensors, stored));
}

}  // namespace normtweak::model
