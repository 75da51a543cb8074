// Mean and standard error of a quantity over tokens, or over examples.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace normtweak::evaluate {

struct Statistic {
  double sum = 0, squares = 0;
  std::int64_t count = 0;

  double mean() const;
  double standard_error() const;       // assumes independent values, as llama.cpp's perplexity tool does
  void add(const at::Tensor& values);  // any shape, on the CPU; summed in F64
  void add(double value);
  void add(const Statistic& other);  // as if its values had been added
};

}  // namespace normtweak::evaluate
