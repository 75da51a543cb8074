// Tensors of a checkpoint as parts of a decoder: found by name, checked, brought to their device and type.
#pragma once
#include <optional>
#include <string>

#include "normtweak/formats/compressed_tensors_config.h"
#include "normtweak/model/checkpoint.h"
#include "normtweak/model/linear.h"
#include "normtweak/model/norm.h"

namespace normtweak::model {

class TensorLoader {
 public:
  // Throws Error if the checkpoint is quantized in a way that cannot be read. `checkpoint` must outlive this.
  TensorLoader(const Checkpoint& checkpoint, c10::Device device, at::ScalarType type);

  // Each throws Error naming file, tensor, expected and found.
  at::Tensor floats(const std::string& name, at::IntArrayRef shape, at::ScalarType type) const;
  Norm norm(const std::string& module) const;
  Linear linear(const std::string& module, std::int64_t out, std::int64_t in, bool has_bias, Layout layout) const;

 private:
  weights::Weight weight(const std::string& module, std::int64_t out, std::int64_t in, Layout layout) const;
  weights::Weight packed_weight(const std::string& module, const formats::PackedSettings& settings, std::int64_t out,
                                std::int64_t in) const;

  void refuse_bias(const std::string& name, std::int64_t out) const;

  const Checkpoint& checkpoint_;
  c10::Device device_;
  at::ScalarType type_;
  std::optional<formats::PackedConfig> packed_;  // nothing where all weights are float
};

}  // namespace normtweak::model
