#include "normtweak/formats/linears/quantized_tensors.h"

#include <algorithm>
#include <iterator>
#include <unordered_map>

#include "normtweak/base/error.h"

namespace normtweak::formats {
namespace {

class QuantizedTensors : public TensorSource {
 public:
  QuantizedTensors(std::shared_ptr<const TensorSource> file, std::shared_ptr<const QuantizedLinears> linears)
      : file_(std::move(file)), linears_(std::move(linears)) {
    for (auto& linear : linears_->find(*file_)) {
      for (const auto& tensor : linear.tensors) parts_.emplace(tensor, linear.module);
      stored_.emplace(linear.module + ".weight", std::move(linear));
    }
    for (const auto& name : file_->names()) {
      const auto part = parts_.find(name);
      if (part == parts_.end()) {
        refuse_twice(name);
        names_.push_back(name);
      } else if (const auto weight = part->second + ".weight"; stored_.at(weight).tensors.front() == name) {
        names_.push_back(weight);
      }
    }
  }

  const std::vector<std::string>& names() const override { return names_; }
  bool contains(const std::string& name) const override {
    return stored_.contains(name) || (file_->contains(name) && !parts_.contains(name));
  }
  std::string file_of(const std::string& name) const override { return file_->file_of(name_in_file(name)); }
  std::string name_in_file(const std::string& name) const override {
    const auto found = stored_.find(name);
    return found == stored_.end() ? file_->name_in_file(name) : found->second.tensors.front();
  }

  TensorInfo info(const std::string& name) const override {
    const auto* linear = find(name);
    if (linear == nullptr) return file_->info(name);
    auto info = file_->info(linear->tensors.front());
    info.type = at::kFloat;
    info.shape = weights::shape(linears_->outline(*file_, linear->module)).vec();
    info.stored_as = linears_->name();
    info.stored_bytes = 0;
    for (const auto& tensor : linear->tensors) info.stored_bytes += file_->info(tensor).stored_bytes;
    return info;
  }

  at::Tensor read(const std::string& name) const override {
    const auto* linear = find(name);
    return linear == nullptr ? file_->read(name) : weights::dequantize(linears_->read(*file_, linear->module));
  }

  std::optional<weights::Weight> read_weight(const std::string& name) const override {
    const auto* linear = find(name);
    if (linear == nullptr) return std::nullopt;
    return linears_->read(*file_, linear->module);
  }

  std::optional<weights::Weight> outline(const std::string& name) const override {
    const auto* linear = find(name);
    if (linear == nullptr) return std::nullopt;
    return linears_->outline(*file_, linear->module);
  }

  std::optional<weights::ActivationQuantizer> input_quantizer(const std::string& name) const override {
    const auto* linear = find(name);
    if (linear == nullptr) return std::nullopt;
    return linears_->input_quantizer(*file_, linear->module);
  }

  std::vector<std::string> doubts(const std::string& name) const override {
    const auto* linear = find(name);
    return linear == nullptr ? std::vector<std::string>() : linears_->doubts(*file_, linear->module);
  }

  bool is_patchable() const override { return file_->is_patchable(); }
  std::vector<std::string> files() const override { return file_->files(); }

  std::vector<BytePatch> patch(const std::string& name, const at::Tensor& values) const override {
    return file_->patch(name, values);
  }

  std::vector<BytePatch> patch(const std::string& name, const weights::Weight& weight) const override {
    const auto* linear = find(name);
    if (linear == nullptr) fail("{}: holds no codes", described(*this, name));
    std::vector<BytePatch> patches;
    for (const auto& [tensor, values] : linears_->floats(*file_, linear->module, weight)) {
      std::ranges::move(file_->patch(tensor, values), std::back_inserter(patches));
    }
    return patches;
  }

 private:
  const StoredLinear* find(const std::string& name) const {
    const auto found = stored_.find(name);
    return found == stored_.end() ? nullptr : &found->second;
  }

  void refuse_twice(const std::string& name) const {
    const auto* linear = find(name);
    if (linear == nullptr) return;
    fail("{}: the file has {} as well, the codes of the same linear; take one of them away", described(*file_, name),
         linear->tensors.front());
  }

  std::shared_ptr<const TensorSource> file_;
  std::shared_ptr<const QuantizedLinears> linears_;
  std::unordered_map<std::string, StoredLinear> stored_;  // by the name of the weight
  std::unordered_map<std::string, std::string> parts_;    // the module of a tensor in the file
  std::vector<std::string> names_;
};

}  // namespace

std::shared_ptr<const TensorSource> quantized_tensors(std::shared_ptr<const TensorSource> file,
                                                      std::shared_ptr<const QuantizedLinears> linears) {
  return std::make_shared<QuantizedTensors>(std::move(file), std::move(linears));
}

}  // namespace normtweak::formats
