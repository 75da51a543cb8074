#include "normtweak/weights/weight.h"

#include "normtweak/weights/codebook_groups.h"
#include "normtweak/weights/group_kernels.h"

namespace normtweak::weights {
namespace {

template <class... Cases>
struct Match : Cases... {
  using Cases::operator()...;
};
template <class... Cases>
Match(Cases...) -> Match<Cases...>;

std::vector<at::Tensor> defined(std::vector<at::Tensor> all) {
  std::erase_if(all, [](const at::Tensor& tensor) { return !tensor.defined(); });
  return all;
}

// Those of the floats of a weight whose columns may be in another order.
std::vector<at::Tensor> affine_gradients(const AffineWeight& weight, const at::Tensor& gradient, bool with_zeros,
                                         const at::Tensor& dequantized) {
  const bool is_ordered = weight.order.defined();
  const auto found =
      reduce_to_groups(in_code_order(weight, gradient), weight, with_zeros, is_ordered ? at::Tensor() : dequantized);
  return {found.scales, found.zeros};
}

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

WeightKind describe(const Weight& weight) {
  return std::visit(Match{[](const FloatWeight& w) -> WeightKind {
                            return {"float", 8 * static_cast<int>(w.values.element_size())};
                          },
                          [](const AffineWeight& w) -> WeightKind {
                            return {"affine", w.bits, w.group_size};
                          },
                          [](const CodebookWeight& w) -> WeightKind {
                            return {"codebook", w.bits, codebook_group_size(w)};
                          },
                          [](const BlockWeight& w) -> WeightKind {
                            return {w.type_name, static_cast<int>(w.bits), w.sub_size};
                          },
                          [](const ScaledWeight& w) -> WeightKind {
                            const auto columns = static_cast<int>(w.tile_columns);
                            return {w.type_name, static_cast<int>(w.bits), columns == w.codes.size(1) ? 0 : columns};
                          }},
                    weight);
}

std::vector<at::Tensor> tensors(const Weight& weight) {
  using Tensors = std::vector<at::Tensor>;
  return std::visit(Match{[](const FloatWeight& w) -> Tensors { return {w.values}; },
                          [](const AffineWeight& w) {
                            return defined({w.codes, w.scales, w.zeros, w.order});
                          },
                          [](const CodebookWeight& w) -> Tensors {
                            return {w.codes, w.codebook};
                          },
                          [](const BlockWeight& w) {
                            return defined({w.codes, w.sub_scales, w.sub_minima, w.scales, w.minima});
                          },
                          [](const ScaledWeight& w) {
                            return defined({w.codes, w.table, w.scales, w.sub_scales, w.offset});
                          }},
                    weight);
}

std::vector<CodeFloats> code_floats(Weight& weight) {
  using Floats = std::vector<CodeFloats>;
  using Kind = CodeFloats::Kind;
  return std::visit(Match{[](FloatWeight&) -> Floats { return {}; },
                          [](AffineWeight& w) {
                            Floats floats = {{Kind::scales, "scales", &w.scales, w.scale_type}};
                            if (w.float_zeros) {
                              floats.push_back({Kind::zeros, "zeros", &w.zeros, w.scale_type});
                            }
                            return floats;
                          },
                          [](CodebookWeight& w) -> Floats {
                            return {{Kind::codebook, "codebook", &w.codebook, w.codebook_type}};
                          },
                          [](BlockWeight& w) {
                            Floats floats = {{Kind::scales, "scales", &w.scales, w.scale_type, false}};
                            if (w.minima.defined()) {
                              floats.push_back({Kind::scales, "minima", &w.minima, w.scale_type, false});
                            }
                            return floats;
                          },
                          [](ScaledWeight& w) {
                            Floats floats = {{Kind::scales, "scales", &w.scales, w.scale_type, false}};
                            if (w.offset.defined()) {
                              floats.push_back({Kind::scales, "offset", &w.offset, at::kFloat, false});
                            }
                            return floats;
                          }},
                    weight);
}

std::vector<at::Tensor> code_float_gradients(const Weight& weight, const at::Tensor& gradient,
                                             const std::vector<bool>& wanted, const at::Tensor& dequantized) {
  using Tensors = std::vector<at::Tensor>;
  const bool second = wanted.size() > 1 && wanted[1];
  return std::visit(Match{[](const FloatWeight&) { return Tensors(); },
                          [&](const AffineWeight& w) { return affine_gradients(w, gradient, second, dequantized); },
                          [&](const CodebookWeight& w) -> Tensors { return {reduce_to_codebook(gradient, w)}; },
                          [&](const BlockWeight& w) {
                            const auto found = reduce_to_blocks(gradient, w, second);
                            return Tensors{found.scales, found.minima};
                          },
                          [&](const ScaledWeight& w) {
                            const auto found = reduce_to_tiles(gradient, w, second);
                            return Tensors{found.scales, found.offset};
                          }},
                    weight);
}

at::Tensor dequantize_for_gradients(const Weight& weight, at::ScalarType type) {
  const auto* affine = std::get_if<AffineWeight>(&weight);
  if (affine == nullptr) return dequantize(weight, type);
  return in_weight_order(*affine, dequantize_for_gradients(*affine, type));
}

Weight map_tensors(const Weight& weight, const std::function<at::Tensor(const at::Tensor&)>& change) {
  Weight changed = weight;
  std::visit(Match{[&](FloatWeight& w) { w.values = change(w.values); },
                   [&](AffineWeight& w) {
                     w.codes = change(w.codes);
                     w.scales = change(w.scales);
                     w.zeros = change(w.zeros);
                     if (w.order.defined()) w.order = change(w.order);
                   },
                   [&](CodebookWeight& w) {
                     w.codes = change(w.codes);
                     w.codebook = change(w.codebook);
                   },
                   [&](BlockWeight& w) {
                     for (auto* tensor : {&w.codes, &w.sub_scales, &w.sub_minima, &w.scales, &w.minima}) {
                       if (tensor->defined()) *tensor = change(*tensor);
                     }
                   },
                   [&](ScaledWeight& w) {
                     for (auto* tensor : {&w.codes, &w.table, &w.scales, &w.sub_scales, &w.offset}) {
                       if (tensor->defined()) *tensor = change(*tensor);
                     }
                   }},
             changed);
  return changed;
}

Weight map_codes(const Weight& weight, const std::function<at::Tensor(const at::Tensor& codes, int bits)>& change) {
  Weight changed = weight;
  const auto of_plain = [&](auto& w) { w.codes = change(w.codes, w.bits); };
  std::visit(Match{[](FloatWeight&) {}, [](BlockWeight&) {}, [](ScaledWeight&) {},
                   [&](AffineWeight& w) { of_plain(w); }, [&](CodebookWeight& w) { of_plain(w); }},
             changed);
  return changed;
}

Weight to_device(const Weight& weight, c10::Device device) {
  return map_tensors(weight, [&](const at::Tensor& tensor) { return tensor.to(device); });
}

}  // namespace normtweak::weights
