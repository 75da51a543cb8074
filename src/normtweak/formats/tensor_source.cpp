#include "normtweak/formats/tensor_source.h"

#include "normtweak/base/error.h"

namespace normtweak::formats {

at::Tensor read_with_shape(const TensorSource& source, const std::string& name, at::IntArrayRef expected) {
  const auto found = source.info(name).shape;
  if (found != expected) {
    fail("{}: tensor {}: shape {} expected, the file has {}; the file does not belong to this model's config.json",
         source.file_of(name), name, c10::str(expected), c10::str(at::IntArrayRef(found)));
  }
  return source.read(name);
}

}  // namespace normtweak::formats
