#include "normtweak/quantize/product_precision.h"

namespace normtweak::quantize {
namespace {

at::Float32Precision exchange(at::Float32Backend backend, at::Float32Precision precision) {
  auto& context = at::globalContext();
  const auto former = context.float32Precision(backend, at::Float32Op::MATMUL);
  context.setFloat32Precision(backend, at::Float32Op::MATMUL, precision);
  return former;
}

}  // namespace

ProductPrecision::ProductPrecision(at::Float32Precision cuda, at::Float32Precision cpu)
    : cuda_(exchange(at::Float32Backend::CUDA, cuda)), cpu_(exchange(at::Float32Backend::MKLDNN, cpu)) {}

ProductPrecision::~ProductPrecision() {
  exchange(at::Float32Backend::CUDA, cuda_);
  exchange(at::Float32Backend::MKLDNN, cpu_);
}

FullPrecisionProducts::FullPrecisionProducts()
    : ProductPrecision(at::Float32Precision::IEEE, at::Float32Precision::IEEE) {}

RoundingProducts::RoundingProducts() : ProductPrecision(at::Float32Precision::TF32, at::Float32Precision::IEEE) {}

}  // namespace normtweak::quantize
