// Loads tensors of a checkpoint as parts of a decoder: finds them by name, checks them, and moves them to device and
// dtype.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "normtweak/model/checkpoint.h"
#include "normtweak/model/linear.h"
#include "normtweak/model/norm.h"
#include "normtweak/model/parts.h"

namespace normtweak::model {

class TensorLoader {
 public:
  // `checkpoint` must outlive this.
  TensorLoader(const Checkpoint& checkpoint, c10::Device device, at::ScalarType type);

  // Each throws Error naming file, tensor, expected and found.
  at::Tensor floats(const std::string& name, const std::vector<Dimension>& shape, at::ScalarType type) const;
  Norm norm(const NormShape& shape) const;
  Linear linear(const LinearShape& shape, Layout layout) const;

 private:
  weights::Weight weight(const LinearShape& shape, Layout family_layout) const;
  Layout layout_of(const LinearShape& shape, Layout layout) const;
  // With the codes that the file stores; nullopt if it stores none.
  std::optional<weights::Weight> coded_weight(const LinearShape& shape, Layout layout) const;
  std::string formula(Dimension dimension) const;

  // Throws Error if the tensor, under its name in the file, is missing or has another shape.
  void check(const std::string& name, const std::string& stored, const std::vector<Dimension>& shape) const;
  void refuse_bias(const LinearShape& shape) const;
  // The dtype of a norm or bias in a file that is changed in place.
  std::optional<at::ScalarType> kept_type(const std::string& name) const;

  const Checkpoint& checkpoint_;
  c10::Device device_;
  at::ScalarType type_;
};

}  // namespace normtweak::model
