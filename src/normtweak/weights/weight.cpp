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

Weight map_tensors(const Weight& weight, const std::function<at::Tensor(const at::Tensor&)>& change) {
  Weight changed = weight;
  std::visit(Match{[&](FloatWeight& w) { w.values = change(w.values); },
                   [&](AffineWeight& w) {
                     w.codes = change(w.codes);
                     w.scales = change(w.scales);
                     w.zeros = change(w.zeros);
                   },
                   [&](CodebookWeight& w) {
                     w.codes = change(w.codes);
                     w.codebook = change(w.codebook);
                   }},
             changed);
  return changed;
}

Weight to_device(const Weight& weight, c10::Device device) {
  return map_tensors(weight, [&](const at::Tensor& tensor) { return tensor.to(device); });
}

}  // namespace normtweak::weights
