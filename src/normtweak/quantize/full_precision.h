// Sums of second-order statistics lose their meaning in TF32 or bf16, whatever the user allows for forward passes.
#pragma once
#include <ATen/Context.h>

namespace normtweak::quantize {

// While it lives, F32 matrix products run in full F32 on every device. The setting is one for the whole process:
// products that other threads start meanwhile run in full F32 as well.
class FullPrecisionProducts {
 public:
  FullPrecisionProducts();
  FullPrecisionProducts(const FullPrecisionProducts&) = delete;
  FullPrecisionProducts& operator=(const FullPrecisionProducts&) = delete;
  ~FullPrecisionProducts();

 private:
  at::Float32Precision cuda_, cpu_;
};

}  // namespace normtweak::quantize
