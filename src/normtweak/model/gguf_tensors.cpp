#include "normtweak/model/gguf_tensors.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>

#include <algorithm>
#include <mutex>
#include <set>
#include <unordered_map>

#include "normtweak/base/error.h"
#include "normtweak/model/parts.h"

namespace normtweak::model {
namespace {

// How a GGUF tensor is converted to Hugging Face's layout.
struct Origin {
  std::string gguf_name;
  std::int64_t rotary_heads = 0;  // > 0: the rows of this many heads are interleaved and must be restored
  std::int64_t groups = 0;        // > 0: rows q | k | v, which Hugging Face has for each of this many key-value heads
  std::int64_t head_size = 0;     // with `groups`
  bool transpose = false;         // Hugging Face stores Conv1D weights as [in, out]
  double shift = 0;               // is subtracted
  int slice = -1;                 // >= 0: the part of this index of a tensor that holds all experts or heads
};

// Rows q | k | v → for each group its queries, its key, its value.
at::Tensor grouped(const at::Tensor& rows, std::int64_t groups, std::int64_t head_size) {
  const auto shared = groups * head_size, queries = rows.size(0) - 2 * shared;
  const auto parts = rows.split_with_sizes({queries, shared, shared});
  std::vector<at::Tensor> by_group;
  for (const auto& part : parts) by_group.push_back(part.reshape({groups, part.size(0) / groups, -1}));
  return at::cat(by_group, 1).reshape(rows.sizes());
}

class GgufTensors : public formats::TensorSource {
 public:
  GgufTensors(std::shared_ptr<const formats::GgufFile> file, const Family& family, const ModelConfig& config)
      : file_(std::move(file)) {
    for (const auto& table : table_shapes(family, config)) {
      add_module(std::string(table.name.name), std::string(table.name.gguf), {});
    }
    if (!family.embedding_norm.name.empty()) add_norm(embedding_norm_shape(family, config), family);
    if (config.final_norm) add_norm(final_norm_shape(family, config), family);
    add_module(std::string(family.head.name), std::string(family.head.gguf), {});
    for (int i = 0; i < config.layers; ++i) add_block(family, config, i);
    refuse_others(family, config);
  }

  const std::vector<std::string>& names() const override { return names_; }
  bool contains(const std::string& name) const override { return origins_.contains(name); }
  std::string file_of(const std::string&) const override { return file_->file_of({}); }
  std::string name_in_file(const std::string& name) const override {
    const auto known = gguf_names_.find(name);
    return known == gguf_names_.end() ? name : known->second;
  }

  formats::TensorInfo info(const std::string& name) const override {
    const auto& origin = find(name);
    auto info = file_->info(origin.gguf_name);
    if (origin.slice >= 0) {
      info.stored_bytes /= std::max<std::int64_t>(1, info.shape.empty() ? 1 : info.shape.front());
      take_slice(origin, info.shape);
    }
    check(origin, info.shape);
    if (origin.transpose) std::swap(info.shape.front(), info.shape.back());
    return info;
  }

  at::Tensor read(const std::string& name) const override {
    const auto& origin = find(name);
    auto tensor = origin.slice < 0 ? file_->read(origin.gguf_name) : slice_of(origin);
    check(origin, tensor.sizes());
    tensor = in_order(origin, tensor);
    if (origin.shift != 0) tensor = tensor - origin.shift;
    return origin.transpose ? tensor.t().contiguous() : tensor;
  }

  std::optional<weights::Weight> read_weight(const std::string& name) const override {
    const auto& origin = find(name);
    const auto [first, count] = rows_of(origin);
    auto weight = file_->read_rows(origin.gguf_name, first, count);
    if (!weight || !reorders(origin)) return weight;
    return weights::map_tensors(
        *weight, [rows = order(origin, count)](const at::Tensor& tensor) { return tensor.index_select(0, rows); });
  }

  std::optional<weights::Weight> outline(const std::string& name) const override {
    const auto& origin = find(name);
    auto weight = file_->outline(origin.gguf_name);
    if (!weight) return weight;
    return weights::map_tensors(
        *weight, [count = rows_of(origin).second](const at::Tensor& tensor) { return tensor.narrow(0, 0, count); });
  }

  std::vector<formats::BytePatch> patch(const std::string& name, const at::Tensor& values) const override {
    const auto& origin = find(name);
    auto stored = values;
    if (reorders(origin)) stored = stored.index_select(0, order(origin, stored.size(0)).argsort());
    if (origin.shift != 0) stored = stored + origin.shift;
    return file_->patch_rows(origin.gguf_name, rows_of(origin).first, stored);
  }

  // Only floats are written, so the codes stay where they are.
  std::vector<formats::BytePatch> patch(const std::string& name, const weights::Weight& weight) const override {
    const auto& origin = find(name);
    const auto [first, count] = rows_of(origin);
    if (!reorders(origin)) return file_->patch_rows(origin.gguf_name, first, weight);
    auto in_file = weight;
    const auto rows = order(origin, count).argsort();
    for (const auto& floats : weights::code_floats(in_file)) {
      *floats.values = floats.values->detach().cpu().index_select(0, rows);
    }
    return file_->patch_rows(origin.gguf_name, first, in_file);
  }

 private:
  static bool reorders(const Origin& origin) { return origin.rotary_heads > 0 || origin.groups > 0; }

  // The rows in Hugging Face's order.
  static at::Tensor in_order(const Origin& origin, at::Tensor rows) {
    if (origin.rotary_heads > 0) {
      // stored: [head, half position, which half, ...] flattened; wanted: [head, which half, half position, ...]
      const auto shape = rows.sizes().vec();
      const auto half = shape[0] / origin.rotary_heads / 2;
      rows = rows.reshape({origin.rotary_heads, half, 2, -1}).transpose(1, 2).reshape(shape);
    }
    return origin.groups > 0 ? grouped(rows, origin.groups, origin.head_size) : rows;
  }

  // i64 [count]: for each row in Hugging Face's order, its number in the file.
  static at::Tensor order(const Origin& origin, std::int64_t count) {
    return in_order(origin, at::arange(count, at::kLong).unsqueeze(1)).flatten();
  }

  // The first of a tensor's rows in the file, and how many there are: a slice is one of several matrices, or vectors.
  std::pair<std::int64_t, std::int64_t> rows_of(const Origin& origin) const {
    const auto shape = file_->info(origin.gguf_name).shape;
    std::int64_t rows = 1;
    for (std::size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
    if (origin.slice < 0) return {0, rows};
    const auto count = rows / std::max<std::int64_t>(1, shape.front());
    return {origin.slice * count, count};
  }

  const Origin& find(const std::string& name) const {
    const auto found = origins_.find(name);
    if (found == origins_.end()) {
      fail("{}: is missing; the file is damaged, or of another kind of model", described(*this, name));
    }
    return found->second;
  }

  // Checks only that there are rows to reorder, or two dimensions to transpose. Callers check the shape against the
  // model.
  void check(const Origin& origin, at::IntArrayRef shape) const {
    if (origin.groups > 0 && (shape.empty() || shape[0] < 3 * origin.groups * origin.head_size)) {
      fail("{}: tensor {}: rows of query, key and value expected, the file has {}", file_->file_of({}),
           origin.gguf_name, c10::str(shape));
    }
    const auto refuse = [&](const std::string& expected) {
      fail("{}: tensor {}: {} expected, the file has {}", file_->file_of({}), origin.gguf_name, expected,
           c10::str(shape));
    };
    if (origin.transpose && shape.size() != 2) refuse("a matrix");
    if (origin.rotary_heads == 0) return;
    const bool is_empty = shape.empty() || std::ranges::find(shape, 0) != shape.end();
    if (is_empty || shape[0] % (2 * origin.rotary_heads) != 0) {
      refuse(fmt::format("rows of {} heads", origin.rotary_heads));
    }
  }

  // Takes the first dimension, of experts or heads, off a shape.
  void take_slice(const Origin& origin, std::vector<std::int64_t>& shape) const {
    if (shape.size() < 2 || shape.front() <= origin.slice) {
      fail("{}: tensor {}: at least {} parts expected, the file has {}", file_->file_of({}), origin.gguf_name,
           origin.slice + 1, c10::str(at::IntArrayRef(shape)));
    }
    shape.erase(shape.begin());
  }

  // The parts of one tensor are read one after the other: it is kept until those of another are wanted.
  at::Tensor slice_of(const Origin& origin) const {
    const std::scoped_lock lock(whole_mutex_);
    if (whole_name_ != origin.gguf_name) {
      whole_ = at::Tensor();
      whole_ = file_->read(origin.gguf_name);
      whole_name_ = origin.gguf_name;
    }
    auto shape = whole_.sizes().vec();
    take_slice(origin, shape);
    return whole_[origin.slice].clone();
  }

  void add_module(const std::string& module, const std::string& gguf_module, const Origin& kind) {
    if (gguf_module.empty()) return;
    for (const auto* part : {".weight", ".bias"}) {
      auto origin = kind;
      origin.gguf_name = fmt::format("{}{}", gguf_module, part);
      gguf_names_.emplace(fmt::format("{}{}", module, part), origin.gguf_name);
      if (!file_->contains(origin.gguf_name)) continue;
      if (std::string_view(part) == ".bias") {
        origin.transpose = false;
        origin.shift = 0;
      }
      names_.push_back(fmt::format("{}{}", module, part));
      origins_.emplace(names_.back(), origin);
    }
  }

  void add_norm(const NormShape& norm, const Family& family) {
    add_module(norm.name, norm.gguf, {.gguf_name = {}, .shift = family.norm_shift, .slice = norm.head});
  }

  void add_block(const Family& family, const ModelConfig& config, int index) {
    const auto parts = block_parts(family, config, index);
    for (const auto& norm : parts.norms) add_norm(norm, family);
    for (const auto& linear : parts.linears) {
      Origin kind = {.gguf_name = {}, .transpose = family.linear_layout == Layout::in_out, .slice = linear.expert};
      if (family.gguf.rotary_permuted && linear.role == LinearRole::query) kind.rotary_heads = config.heads;
      if (family.gguf.rotary_permuted && linear.role == LinearRole::key) kind.rotary_heads = config.key_value_heads;
      if (linear.role == LinearRole::query_key_value && config.query_key_value_order == RowOrder::groups) {
        kind.groups = config.key_value_heads;
        kind.head_size = config.head_size;
      }
      add_module(linear.name, linear.gguf, kind);
    }
  }

  // A tensor without a Hugging Face name belongs to a different architecture.
  void refuse_others(const Family& family, const ModelConfig& config) const {
    std::set<std::string> known;
    for (const auto& [name, origin] : origins_) known.insert(origin.gguf_name);
    if (family.position == Position::rotary) known.emplace(kRotaryFactors);
    const bool is_longrope = std::ranges::any_of(
        config.rotary, [](const Rotary& rotary) { return rotary.scaling.kind == RotaryScaling::Kind::longrope; });
    if (is_longrope) known.insert({std::string(kLongFactors), std::string(kShortFactors)});
    for (int i = 0; i < config.layers; ++i) {
      known.insert(fmt::format("{}.{}", numbered(family.block.gguf, i), family.gguf.idle_tensor));
    }
    for (const auto& name : file_->names()) {
      if (known.contains(name)) continue;
      fail("{}: tensor {}: no part of this {} model as its metadata has it, so the passes would leave it out",
           file_->file_of(name), name, family.name);
    }
  }

  std::shared_ptr<const formats::GgufFile> file_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, Origin> origins_;
  mutable std::mutex whole_mutex_;
  mutable std::string whole_name_;
  mutable at::Tensor whole_;
  std::unordered_map<std::string, std::string> gguf_names_;  // by Hugging Face's, of absent tensors too
};

}  // namespace

std::shared_ptr<const formats::TensorSource> gguf_tensors(std::shared_ptr<const formats::GgufFile> file,
                                                          const Family& family, const ModelConfig& config) {
  return std::make_shared<GgufTensors>(std::move(file), family, config);
}

}  // namespace normtweak::model
