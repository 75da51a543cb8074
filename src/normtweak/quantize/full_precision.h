// Full F32 products for second-order statistics, which are meaningless in TF32 or bf16, whatever forward passes use.
#pragma once
#include <ATen/Context.h>

namespace normtweak::quantize {

// While it exists, F32 matrix products run in full F32 on every device. The setting is process-wide: it also affects
// products that other threads start in the meantime.
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
