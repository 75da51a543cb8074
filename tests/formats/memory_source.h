// A TensorSource of tensors in memory.
#pragma once
#include <map>

#include "normtweak/base/error.h"
#include "normtweak/formats/tensor_source.h"

namespace normtweak::formats {

class MemorySource : public TensorSource {
 public:
  explicit MemorySource(const NamedTensors& tensors) : tensors_(tensors.begin(), tensors.end()) {
    for (const auto& [name, tensor] : tensors) names_.push_back(name);
  }

  const std::vector<std::string>& names() const override { return names_; }
  bool contains(const std::string& name) const override { return tensors_.contains(name); }
  TensorInfo info(const std::string& name) const override {
    const auto tensor = read(name);
    return {tensor.scalar_type(), tensor.sizes().vec()};
  }
  at::Tensor read(const std::string& name) const override {
    if (!contains(name)) fail("memory: has no tensor {}", name);
    return tensors_.at(name);
  }
  std::string file_of(const std::string&) const override { return "memory"; }

 private:
  std::vector<std::string> names_;
  std::map<std::string, at::Tensor> tensors_;
};

}  // namespace normtweak::formats
