// The tensors of a folder in which each quantized linear is one tensor, MODULE.weight, whatever the file has in its
// place: with codes for who asks, dequantized for others.
#pragma once
#include <memory>

#include "normtweak/formats/linears/quantized_linears.h"

namespace normtweak::formats {

// Throws Error as QuantizedLinears::find() does, or naming a linear that the file has both ways.
std::shared_ptr<const TensorSource> quantized_tensors(std::shared_ptr<const TensorSource> file,
                                                      std::shared_ptr<const QuantizedLinears> linears);

}  // namespace normtweak::formats
