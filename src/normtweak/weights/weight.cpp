#include "normtweak/weights/weight.h"

#include "normtweak/base/error.h"

namespace normtweak::weights {
namespace {

template <class... Cases>
struct Match : Cases... {
  using Cases::operator()...;
};
template <class... Cases>
Match(Cases...) -> Match<Cases...>;

}  // namespace

at::Tensor dequantize(const Weight& weight, at::ScalarType type) {
  return std::visit(Match{[&](const FloatWeight& w) { return w.values.to(type); },
                          [&](const auto& w) { return dequantize(w, type); }},
                    weight);
}

at::IntArrayRef shape(const Weight& weight) {
  return std::visit(
      Match{[](const FloatWeight& w) { return w.values.sizes(); }, [](const auto& w) { return w.codes.sizes(); }},
      weight);
}

double bits_per_weight(const Weight& weight) {
  return std::visit(Match{[](const FloatWeight& w) { return 8.0 * static_cast<double>(w.values.element_size()); },
                          [](const auto& w) { return bits_per_weight(w); }},
                    weight);
}

bool is_quantized(const Weight& weight) { return !std::holds_alternative<FloatWeight>(weight); }

std::vector<at::Tensor> tensors(const Weight& weight) {
  using Tensors = std::vector<at::Tensor>;
  return std::visit(Match{[](const FloatWeight& w) -> Tensors { return {w.values}; },
                          [](const AffineWeight& w) -> Tensors {
                            return {w.codes, w.scales, w.zeros};
                          },
                          [](const CodebookWeight& w) -> Tensors {
                            return {w.codes, w.codebook};
                          }},
                    weight);
}

Weight to_device(const Weight& weight, c10::Device device) {
  Weight moved = weight;
  std::visit(Match{[&](FloatWeight& w) { w.values = w.values.to(device); },
                   [&](AffineWeight& w) {
                     w.codes = w.codes.to(device);
                     w.scales = w.scales.to(device);
                     w.zeros = w.zeros.to(device);
                   },
                   [&](CodebookWeight& w) {
                     w.codes = w.codes.to(device);
                     w.codebook = w.codebook.to(device);
                   }},
             moved);
  return moved;
}

}  // namespace normtweak::weights
