// Groups of weights that share a scale and perhaps a minimum, value = code * scale + minimum, with the weighted sums
// from which least squares and errors follow.
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

#include "normtweak/weights/block_type.h"

namespace normtweak::quantize {

struct Line {
  at::Tensor scales, minima;  // f32 [...]; minima undefined if the type has none
};

// Σ importance · code, code², code · value
struct CodeSums {
  at::Tensor code, square, product;  // f32 [...]
};

class BlockGroups {
 public:
  // values, importance: f32 [..., size]
  BlockGroups(const at::Tensor& values, const at::Tensor& importance, const weights::BlockType& type);

  const at::Tensor& values() const { return values_; }
  const at::Tensor& importance() const { return importance_; }
  // Σ importance, importance · value, f32 [...]
  const at::Tensor& total() const { return total_; }
  const at::Tensor& mean_sum() const { return linear_; }

  at::Tensor codes(const Line& line) const;  // the nearest ones, f32 [..., size]
  CodeSums sums(const at::Tensor& codes) const;
  CodeSums sums(const Line& line) const { return sums(codes(line)); }

  // The line of least squares for these codes. minima_below: no minimum is above 0.
  Line fitted(const CodeSums& sums, bool minima_below) const;
  // Σ importance (value - code * scale - minimum)², f32 [...]
  at::Tensor error(const CodeSums& sums, const Line& line) const;

 private:
  const weights::BlockType& type_;
  at::Tensor values_, importance_, weighted_;
  at::Tensor total_, linear_, square_;
};

// numerator / denominator, and 0 where that is 0.
at::Tensor ratio(const at::Tensor& numerator, const at::Tensor& denominator);

// The nearest code for value / scale; changes its argument.
at::Tensor round_to_codes(at::Tensor&& steps, const weights::BlockType& type);

// The best of several candidates: tensors whose first dimensions are those of their errors.
class Best {
 public:
  void offer(const at::Tensor& errors, const std::vector<at::Tensor>& candidate);
  const at::Tensor& errors() const { return errors_; }
  const std::vector<at::Tensor>& found() const { return found_; }

 private:
  at::Tensor errors_;
  std::vector<at::Tensor> found_;
};

// The scales and minima, in f32, that fit each group best: f32 [...]. For groups of any number of dimensions.
Line ideal_line(const BlockGroups& groups, const weights::BlockType& type);

}  // namespace normtweak::quantize
