// Loads tensors of a checkpoint as parts of a decoder: finds them by name, checks them, and moves them to device and
// dtype.
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
  // Throws Error if the checkpoint's quantization is unsupported. `checkpoint` must outlive this.
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
  std::optional<formats::PackedConfig> packed_;  // nullopt if all weights are float
};

}  // namespace normtweak::model
