#include "normtweak/quantize/full_precision.h"

namespace normtweak::quantize {
namespace {

at::Float32Precision exchange(at::Float32Backend backend, at::Float32Precision precision) {
  auto& context = at::globalContext();
  const auto former = context.float32Precision(backend, at::Float32Op::MATMUL);
  context.setFloat32Precision(backend, at::Float32Op::MATMUL, precision);
  return former;
}

}  // namespace

FullPrecisionProducts::FullPrecisionProducts()
    : cuda_(exchange(at::Float32Backend::CUDA, at::Float32Precision::IEEE)),
      cpu_(exchange(at::Float32Backend::MKLDNN, at::Float32Precision::IEEE)) {}

FullPrecisionProducts::~FullPrecisionProducts() {
  exchange(at::Float32Backend::CUDA, cuda_);
  exchange(at::Float32Backend::MKLDNN, cpu_);
}

}  // namespace normtweak::quantize
