// Weights in the order in which MKL's kernels read them.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <unordered_map>
#include <vector>

namespace normtweak {

// While it lives, products without gradients on this thread of an x of `rows` rows with one of these weights read a
// packed copy of it. Where x has few rows, arranging the weight takes a third of a product's time, which a text that is
// being written spends on the same weights at every token (docs/architecture.md). The weights must not change
// meanwhile.
class PackedWeights {
 public:
  // Packs what can be packed: large F32 matrices on a CPU whose F32 products run in MKL.
  PackedWeights(const std::vector<at::Tensor>& weights, std::int64_t rows);
  ~PackedWeights();
  PackedWeights(const PackedWeights&) = delete;
  PackedWeights& operator=(const PackedWeights&) = delete;

  // x weightᵀ, or an undefined tensor if that is no product of a packed weight.
  static at::Tensor product(const at::Tensor& x, const at::Tensor& weight);

 private:
  struct Packed {
    at::Tensor weight;  // held, so that no other tensor gets its address
    at::Tensor values;  // for MKL alone
  };

  std::unordered_map<const void*, Packed> packed_;  // by the weight's address
  std::int64_t rows_;
  const PackedWeights* outer_;
};

// Whether PackedWeights would pack it, into as many bytes as it has.
bool can_be_packed(const at::Tensor& weight);

}  // namespace normtweak
