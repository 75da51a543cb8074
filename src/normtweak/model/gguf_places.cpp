#include "normtweak/model/gguf_places.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>

#include "normtweak/model/parts.h"

namespace normtweak::model {
namespace {

// Rows q | k | v → for each group its queries, its key, its value.
at::Tensor grouped(const at::Tensor& rows, std::int64_t groups, std::int64_t head_size) {
  const auto shared = groups * head_size, queries = rows.size(0) - 2 * shared;
  const auto parts = rows.split_with_sizes({queries, shared, shared});
  std::vector<at::Tensor> by_group;
  for (const auto& part : parts) by_group.push_back(part.reshape({groups, part.size(0) / groups, -1}));
  return at::cat(by_group, 1).reshape(rows.sizes());
}

// Lists the places of a model's modules.
class Places {
 public:
  Places(const Family& family, const ModelConfig& config) : family_(family), config_(config) {}

  std::vector<GgufPlace> list() {
    for (const auto& table : table_shapes(family_, config_)) {
      add_module(std::string(table.name.name), std::string(table.name.gguf), {});
    }
    if (!family_.embedding_norm.name.empty()) add_norm(embedding_norm_shape(family_, config_));
    if (config_.final_norm) add_norm(final_norm_shape(family_, config_));
    add_module(std::string(family_.head.name), std::string(family_.head.gguf), {});
    for (int i = 0; i < config_.layers; ++i) add_block(i);
    return std::move(places_);
  }

 private:
  void add_module(const std::string& module, const std::string& gguf, GgufPlace place) {
    if (gguf.empty()) return;
    place.name = module + ".weight";
    place.gguf = gguf + ".weight";
    places_.push_back(place);
    place.name = module + ".bias";
    place.gguf = gguf + ".bias";
    place.transpose = false;
    place.shift = 0;
    places_.push_back(std::move(place));
  }

  void add_norm(const NormShape& norm) {
    add_module(norm.name, norm.gguf, {.name = {}, .gguf = {}, .shift = family_.norm_shift, .slice = norm.head});
  }

  void add_block(int index) {
    const auto parts = block_parts(family_, config_, index);
    for (const auto& norm : parts.norms) add_norm(norm);
    for (const auto& linear : parts.linears) {
      GgufPlace place = {.name = {}, .gguf = {}, .slice = linear.expert};
      place.transpose = family_.linear_layout == Layout::in_out;
      if (family_.gguf.rotary_permuted && linear.role == LinearRole::query) place.rotary_heads = config_.heads;
      if (family_.gguf.rotary_permuted && linear.role == LinearRole::key) place.rotary_heads = config_.key_value_heads;
      if (linear.role == LinearRole::query_key_value && config_.query_key_value_order == RowOrder::groups) {
        place.groups = config_.key_value_heads;
        place.head_size = config_.head_size;
      }
      add_module(linear.name, linear.gguf, std::move(place));
    }
  }

  const Family& family_;
  const ModelConfig& config_;
  std::vector<GgufPlace> places_;
};

}  // namespace

at::Tensor GgufPlace::in_order(at::Tensor rows) const {
  if (rotary_heads > 0) {
    // stored: [head, half position, which half, ...] flattened; wanted: [head, which half, half position, ...]
    const auto shape = rows.sizes().vec();
    const auto half = shape[0] / rotary_heads / 2;
    rows = rows.reshape({rotary_heads, half, 2, -1}).transpose(1, 2).reshape(shape);
  }
  return groups > 0 ? grouped(rows, groups, head_size) : rows;
}

at::Tensor GgufPlace::order(std::int64_t count) const {
  return in_order(at::arange(count, at::kLong).unsqueeze(1)).flatten();
}

at::Tensor GgufPlace::from_file(const at::Tensor& stored) const {
  auto values = in_order(stored);
  if (shift != 0) values = values - shift;
  return transpose ? values.t().contiguous() : values;
}

at::Tensor GgufPlace::to_file(const at::Tensor& values) const {
  auto stored = transpose ? values.t() : values;
  if (reorders()) stored = stored.index_select(0, order(stored.size(0)).argsort());
  return shift != 0 ? stored + shift : stored.contiguous();
}

std::vector<GgufPlace> gguf_places(const Family& family, const ModelConfig& config) {
  return Places(family, config).list();
}

}  // namespace normtweak::model
