// The precision of F32 matrix products, whatever forward passes use.
#pragma once
#include <ATen/Context.h>

namespace normtweak::quantize {

// While one exists, F32 matrix products run in this precision. The setting is process-wide: it also affects products
// that other threads start in the meantime.
class ProductPrecision {
 public:
  ProductPrecision(const ProductPrecision&) = delete;
  ProductPrecision& operator=(const ProductPrecision&) = delete;
  ~ProductPrecision();

 protected:
  ProductPrecision(at::Float32Precision cuda, at::Float32Precision cpu);

 private:
  at::Float32Precision cuda_, cpu_;  // what it was before
};

// Full F32 on every device: for second-order statistics, which are meaningless in TF32 or bf16.
class FullPrecisionProducts : public ProductPrecision {
 public:
  FullPrecisionProducts();
};

// TF32 on a GPU's tensor cores, where factors have 11 significant bits and sums are F32; full F32 on a CPU. For
// products that move a value before it is rounded to a grid, and for the equations whose solution is such a movement or
// a grid's own floats: an error of 2⁻¹¹ of the movement decides a code only where two are as good as each other. Eight
// times as fast as F32 on an H200.
class RoundingProducts : public ProductPrecision {
 public:
  RoundingProducts();
};

}  // namespace normtweak::quantize
