#include <algorithm>
#include <array>
#include <charconv>
#include <numeric>

#include "normtweak/formats/gguf_presets.h"

namespace normtweak::formats {
namespace {

using Mixture = GgufMixture;

enum class Part { embedding, output, value, key, attention_output, down, other };

// query, key and value in one count as a value
Part part_of(std::string_view name) {
  const auto has = [&](std::string_view text) { return name.find(text) != std::string_view::npos; };
  if (name == "output.weight") return Part::output;
  if (name == "token_embd.weight") return Part::embedding;
  if (has("attn_qkv.weight") || has("attn_v.weight")) return Part::value;
  if (has("attn_k.weight")) return Part::key;
  if (has("attn_output.weight")) return Part::attention_output;
  return has("ffn_down") ? Part::down : Part::other;
}

bool is_quantized(const GgufTensorShape& tensor) {
  const std::string_view name = tensor.name;
  return tensor.shape.size() >= 2 && name.ends_with("weight") && !name.ends_with("_norm.weight") &&
         !name.ends_with("ffn_gate_inp.weight") && name != "position_embd.weight";
}

// The number in "blk.7.ffn_down.weight"; -1 outside of blocks.
std::int64_t layer_of(std::string_view name) {
  constexpr std::string_view kBlock = "blk.";
  std::int64_t layer = -1;
  if (name.starts_with(kBlock)) std::from_chars(name.data() + kBlock.size(), name.data() + name.size(), layer);
  return layer;
}

// The first and the last eighth of the layers, and every third in between.
bool gets_more_bits(std::int64_t layer, std::int64_t layers) {
  return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

// Chooses for one model, in the order of the layers.
class Chooser {
 public:
  Chooser(const GgufPreset& preset, const GgufModelFacts& model, std::int64_t values, bool is_tied)
      : mixture_(preset.mixture), standard_(preset.type), model_(model), values_(values), is_tied_(is_tied) {}

  const GgmlType& of(const GgufTensorShape& tensor) {
    const auto& standard = ggml_type_named(standard_);
    if (standard.block_size == 1) return standard;
    return fitting(ggml_type_named(wanted(tensor)), tensor.shape.back());
  }

 private:
  std::string_view wanted(const GgufTensorShape& tensor) {
    const auto part = part_of(tensor.name);
    if (part == Part::output || (part == Part::embedding && is_tied_)) return of_output(tensor.shape.back());
    if (part == Part::value) return of_value(values_seen_++);
    if (part == Part::key) return model_.experts == 8 ? "Q8_0" : standard_;
    if (part == Part::attention_output) return of_attention_output();
    if (part != Part::down) return standard_;
    const auto layer = model_.experts > 1 ? layer_of(tensor.name) : downs_seen_;
    ++downs_seen_;
    return of_down(layer, model_.layers);
  }

  std::string_view of_output(std::int64_t columns) const {
    const auto block = ggml_type_named(standard_).block_size;
    return is_falcon() || columns % block != 0 || standard_ == "Q8_0" ? "Q8_0" : "Q6_K";
  }

  std::string_view of_value(std::int64_t index) const {
    if (model_.experts == 8) return "Q8_0";
    const auto type = of_dense_value(index);
    return is_of_80_layers() && (type == "Q3_K" || type == "Q4_K") ? "Q5_K" : type;
  }

  std::string_view of_dense_value(std::int64_t index) const {
    const bool is_shared = model_.key_value_heads > 0 && model_.heads / model_.key_value_heads >= 4;
    switch (mixture_) {
      case Mixture::q2_k:
        return is_shared ? "Q4_K" : "Q3_K";
      case Mixture::q2_k_s:
        return is_shared ? "Q4_K" : standard_;
      case Mixture::q3_k_m:
        return index < 2 ? "Q5_K" : "Q4_K";
      case Mixture::q3_k_l:
        return "Q5_K";
      case Mixture::q4_k_s:
        return index < 4 ? "Q5_K" : standard_;
      case Mixture::q4_k_m:
      case Mixture::q5_k_m:
        return gets_more_bits(index, values_) ? "Q6_K" : standard_;
      case Mixture::iq4_nl:
      case Mixture::iq4_xs:
        return is_shared ? "Q5_K" : standard_;
      default:
        return standard_;
    }
  }

  std::string_view of_attention_output() const {
    if (is_falcon()) return mixture_ == Mixture::q3_k_l ? "Q4_K" : standard_;
    const bool has_eight = model_.experts == 8;
    switch (mixture_) {
      case Mixture::q2_k:
        return has_eight ? "Q5_K" : "Q3_K";
      case Mixture::q3_k_m:
        return has_eight ? "Q5_K" : "Q4_K";
      case Mixture::q3_k_l:
        return has_eight ? standard_ : "Q5_K";
      case Mixture::q3_k_s:
      case Mixture::q4_k_s:
      case Mixture::q4_k_m:
      case Mixture::iq4_nl:
      case Mixture::iq4_xs:
        return has_eight ? "Q5_K" : standard_;
      default:
        return standard_;
    }
  }

  std::string_view of_down(std::int64_t layer, std::int64_t layers) const {
    const bool more = gets_more_bits(layer, layers), first = layer < layers / 8, very_first = layer < layers / 16;
    switch (mixture_) {
      case Mixture::q2_k:
        return "Q3_K";
      case Mixture::q2_k_s:
        return first ? "Q4_K" : standard_;
      case Mixture::q3_k_m:
        if (very_first) return "Q5_K";
        return !is_falcon() || more ? "Q4_K" : standard_;
      case Mixture::q3_k_l:
        return is_falcon() ? "Q4_K" : "Q5_K";
      case Mixture::q4_k_s:
        return first && !is_falcon() ? "Q5_K" : standard_;
      case Mixture::q4_k_m:
        if (!is_falcon()) return more ? "Q6_K" : standard_;
        return very_first ? "Q6_K" : (more ? "Q5_K" : standard_);
      case Mixture::q5_k_m:
        return more ? "Q6_K" : standard_;
      case Mixture::iq4_nl:
      case Mixture::iq4_xs:
        return first ? "Q5_K" : standard_;
      default:
        return standard_;
    }
  }

  bool is_falcon() const { return model_.architecture == "falcon"; }

  // What llama.cpp takes for models of 70B, whose values are eight times smaller than their queries.
  bool is_of_80_layers() const {
    if (model_.layers != 80) return false;
    return model_.architecture == "qwen2" || (model_.architecture == "llama" && model_.heads != model_.key_value_heads);
  }

  // Rows that are no whole blocks get smaller blocks, or none.
  static const GgmlType& fitting(const GgmlType& wanted, std::int64_t columns) {
    constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kSmaller = {{{"IQ4_XS", "IQ4_NL"},
                                                                                        {"Q2_K", "Q4_0"},
                                                                                        {"Q3_K", "Q4_0"},
                                                                                        {"Q4_K", "Q5_0"},
                                                                                        {"Q5_K", "Q5_1"},
                                                                                        {"Q6_K", "Q8_0"}}};
    if (columns % wanted.block_size == 0) return wanted;
    const auto* smaller =
        std::ranges::find(kSmaller, wanted.name, &std::pair<std::string_view, std::string_view>::first);
    const auto& type = smaller == kSmaller.end() ? wanted : ggml_type_named(smaller->second);
    return columns % type.block_size == 0 ? type : ggml_type_named("F16");
  }

  Mixture mixture_;
  std::string_view standard_;
  const GgufModelFacts& model_;
  std::int64_t values_ = 0, values_seen_ = 0, downs_seen_ = 0;
  bool is_tied_;
};

}  // namespace

std::vector<const GgmlType*> preset_types(const GgufPreset& preset, const GgufModelFacts& model,
                                          std::span<const GgufTensorShape> tensors) {
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return layer_of(tensors[i].name); });
  const auto values = std::ranges::count(tensors, Part::value, [](const auto& t) { return part_of(t.name); });
  const auto is_output = [](const auto& tensor) { return part_of(tensor.name) == Part::output; };
  Chooser chooser(preset, model, values, std::ranges::none_of(tensors, is_output));
  std::vector<const GgmlType*> types(tensors.size(), &ggml_type_named("F32"));
  for (const auto i : order) {
    if (is_quantized(tensors[i])) types[i] = &chooser.of(tensors[i]);
  }
  return types;
}

}  // namespace normtweak::formats
