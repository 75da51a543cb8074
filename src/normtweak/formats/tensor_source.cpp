#include "normtweak/formats/tensor_source.h"

#include "normtweak/base/error.h"

namespace normtweak::formats {

std::vector<BytePatch> TensorSource::patch(const std::string& name, const at::Tensor& /*values*/) const {
  fail("{}: files of this kind are not changed in place", file_of(name));
}

std::vector<BytePatch> TensorSource::patch(const std::string& name, const weights::Weight& /*weight*/) const {
  fail("{}: files of this kind are not changed in place", file_of(name));
}

std::string described(const TensorSource& source, const std::string& name) {
  return fmt::format("{}: tensor {}", source.file_of(name), source.name_in_file(name));
}

at::Tensor read_with_shape(const TensorSource& source, const std::string& name, at::IntArrayRef expected) {
  const auto found = source.info(name).shape;
  if (found != expected) {
    fail("{}: shape {} expected, the file has {}; it is not of the model that its config describes",
         described(source, name), c10::str(expected), c10::str(at::IntArrayRef(found)));
  }
  return source.read(name);
}

}  // namespace normtweak::formats
