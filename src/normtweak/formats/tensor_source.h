// The interface through which every container (safetensors, GGUF, ...) is read.
#pragma once
#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "normtweak/formats/byte_patch.h"
#include "normtweak/weights/activation_quantizer.h"
#include "normtweak/weights/weight.h"

namespace normtweak::formats {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

struct TensorInfo {
  at::ScalarType type = at::kFloat;  // of what read() returns
  std::vector<std::int64_t> shape;
  std::string_view stored_as = {};  // the format's name of its type, such as F16 or Q4_K
  std::int64_t stored_bytes = 0;    // its size in the file
};

class TensorSource {
 public:
  virtual ~TensorSource() = default;

  // All names, in the order of the file.
  virtual const std::vector<std::string>& names() const = 0;
  virtual bool contains(const std::string& name) const = 0;

  // Both throw Error naming file and tensor if there is no such tensor.
  virtual TensorInfo info(const std::string& name) const = 0;
  // CPU tensor; it may alias the file's memory map, so it must not be written to. The source must outlive it.
  virtual at::Tensor read(const std::string& name) const = 0;

  // The matrix with its codes kept, [out, in], if the file stores it as codes with floats beside them; nullopt: read()
  // is all there is. Whatever dtype read() has, it returns what these codes stand for.
  virtual std::optional<weights::Weight> read_weight(const std::string& /*name*/) const { return std::nullopt; }
  // The same without data (tensors of the meta device), for sizes.
  virtual std::optional<weights::Weight> outline(const std::string& /*name*/) const { return std::nullopt; }
  // How the input of the linear with this weight is rounded; nullopt: not at all.
  virtual std::optional<weights::ActivationQuantizer> input_quantizer(const std::string& /*name*/) const {
    return std::nullopt;
  }

  // What to change in the file so that read(), or read_weight(), returns these values, rounded to the stored dtype. The
  // codes of `weight` must be those of the file. Throws Error if a value does not fit into that dtype, or if this kind
  // of file cannot be changed in place.
  virtual std::vector<BytePatch> patch(const std::string& name, const at::Tensor& values) const;
  virtual std::vector<BytePatch> patch(const std::string& name, const weights::Weight& weight) const;

  // Whether patch() below is possible.
  virtual bool is_patchable() const { return false; }
  // The files that hold tensors.
  virtual std::vector<std::string> files() const { return {file_of({})}; }

  // What other programs may read otherwise in a matrix with codes, or what is odd, one line each.
  virtual std::vector<std::string> doubts(const std::string& /*name*/) const { return {}; }

  // The file that holds `name`, for messages.
  virtual std::string file_of(const std::string& name) const = 0;
  // What the file calls the tensor that this source calls `name`, for messages; `name` itself if it has no such tensor.
  virtual std::string name_in_file(const std::string& name) const { return name; }
};

// "FILE: tensor NAME", as the file calls it: how messages begin.
std::string described(const TensorSource& source, const std::string& name);

// read(), after checking the shape. Throws Error naming file, tensor, expected and found shapes.
at::Tensor read_with_shape(const TensorSource& source, const std::string& name, at::IntArrayRef expected);

}  // namespace normtweak::formats
