#include "normtweak/model/gguf_tensors.h"

#include <algorithm>
#include <set>
#include <unordered_map>

#include "normtweak/base/error.h"

namespace normtweak::model {
namespace {

// How a GGUF tensor is converted to Hugging Face's layout.
struct Origin {
  std::string gguf_name;
  std::int64_t rotary_heads = 0;  // > 0: the rows of this many heads are interleaved and must be restored
  bool transpose = false;         // Hugging Face stores Conv1D weights as [in, out]
};

class GgufTensors : public formats::TensorSource {
 public:
  GgufTensors(std::shared_ptr<const formats::GgufFile> file, const Family& family, const ModelConfig& config)
      : file_(std::move(file)) {
    add_module(family.names.embedding, family.gguf.names.embedding, {});
    add_module(family.names.positions, family.gguf.names.positions, {});
    add_module(family.names.final_norm, family.gguf.names.final_norm, {});
    add_module(family.names.head, family.gguf.names.head, {});
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
    check(origin, info.shape);
    if (origin.transpose) std::swap(info.shape.front(), info.shape.back());
    return info;
  }

  at::Tensor read(const std::string& name) const override {
    const auto& origin = find(name);
    auto tensor = file_->read(origin.gguf_name);
    check(origin, tensor.sizes());
    if (origin.rotary_heads > 0) {
      // stored: [head, half position, which half, ...] flattened; wanted: [head, which half, half position, ...]
      const auto shape = tensor.sizes().vec();
      const auto half = shape[0] / origin.rotary_heads / 2;
      tensor = tensor.reshape({origin.rotary_heads, half, 2, -1}).transpose(1, 2).reshape(shape);
    }
    return origin.transpose ? tensor.t().contiguous() : tensor;
  }

 private:
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

  void add_module(std::string_view module, std::string_view gguf_module, const Origin& kind) {
    for (const auto* part : {".weight", ".bias"}) {
      auto origin = kind;
      origin.gguf_name = fmt::format("{}{}", gguf_module, part);
      gguf_names_.emplace(fmt::format("{}{}", module, part), origin.gguf_name);
      if (!file_->contains(origin.gguf_name)) continue;
      if (std::string_view(part) == ".bias") origin.transpose = false;
      names_.push_back(fmt::format("{}{}", module, part));
      origins_.emplace(names_.back(), origin);
    }
  }

  void add_block(const Family& family, const ModelConfig& config, int index) {
    const auto full = [index](std::string_view block, std::string_view part) {
      return fmt::format("{}.{}", fmt::format(fmt::runtime(block), index), part);
    };
    const auto& theirs = family.names;
    const auto& ours = family.gguf.names;
    const auto add = [&](std::string_view module, std::string_view gguf_module, const Origin& kind) {
      if (!module.empty()) add_module(full(theirs.block, module), full(ours.block, gguf_module), kind);
    };
    const Origin linear = {.gguf_name = {}, .transpose = family.linear_layout == Layout::in_out};
    add(theirs.attention_norm, ours.attention_norm, {});
    add(theirs.mlp_norm, ours.mlp_norm, {});
    for (std::size_t i = 0; i < theirs.query_key_value.size(); ++i) {
      auto kind = linear;
      if (family.gguf.rotary_permuted && i < 2) kind.rotary_heads = i == 0 ? config.heads : config.key_value_heads;
      add(theirs.query_key_value[i], ours.query_key_value[i], kind);
    }
    add(theirs.attention_output, ours.attention_output, linear);
    add(theirs.gate, ours.gate, linear);
    add(theirs.up, ours.up, linear);
    add(theirs.down, ours.down, linear);
  }

  // A tensor without a Hugging Face name belongs to a different architecture.
  void refuse_others(const Family& family, const ModelConfig& config) const {
    std::set<std::string> known;
    for (const auto& [name, origin] : origins_) known.insert(origin.gguf_name);
    if (family.position == Position::rotary) known.insert(std::string(kRotaryFactors));
    for (int i = 0; i < config.layers; ++i) {
      const auto block = fmt::format(fmt::runtime(family.gguf.names.block), i);
      known.insert(fmt::format("{}.{}", block, family.gguf.idle_tensor));
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
  std::unordered_map<std::string, std::string> gguf_names_;  // by Hugging Face's, of absent tensors too
};

}  // namespace

std::shared_ptr<const formats::TensorSource> gguf_tensors(std::shared_ptr<const formats::GgufFile> file,
                                                          const Family& family, const ModelConfig& config) {
  return std::make_shared<GgufTensors>(std::move(file), family, config);
}

}  // namespace normtweak::model
