#include "normtweak/model/gguf_tensors.h"

#include <ATen/TensorOperators.h>

#include <algorithm>
#include <mutex>
#include <set>
#include <unordered_map>

#include "normtweak/base/error.h"
#include "normtweak/model/gguf_places.h"
#include "normtweak/model/parts.h"

namespace normtweak::model {
namespace {

class GgufTensors : public formats::TensorSource {
 public:
  GgufTensors(std::shared_ptr<const formats::GgufFile> file, const Family& family, const ModelConfig& config)
      : file_(std::move(file)) {
    for (auto& place : gguf_places(family, config)) {
      gguf_names_.emplace(place.name, place.gguf);
      if (!file_->contains(place.gguf)) continue;
      names_.push_back(place.name);
      places_.emplace(place.name, std::move(place));
    }
    refuse_others(family, config);
  }

  const std::vector<std::string>& names() const override { return names_; }
  bool contains(const std::string& name) const override { return places_.contains(name); }
  std::string file_of(const std::string& name) const override { return file_->file_of(name_in_file(name)); }
  std::vector<std::string> files() const override { return file_->files(); }
  std::string name_in_file(const std::string& name) const override {
    const auto known = gguf_names_.find(name);
    return known == gguf_names_.end() ? name : known->second;
  }

  formats::TensorInfo info(const std::string& name) const override {
    const auto& place = find(name);
    auto info = file_->info(place.gguf);
    if (place.slice >= 0) {
      info.stored_bytes /= std::max<std::int64_t>(1, info.shape.empty() ? 1 : info.shape.front());
      take_slice(place, info.shape);
    }
    check(place, info.shape);
    if (place.transpose) std::swap(info.shape.front(), info.shape.back());
    return info;
  }

  at::Tensor read(const std::string& name) const override {
    const auto& place = find(name);
    const auto tensor = place.slice < 0 ? file_->read(place.gguf) : slice_of(place);
    check(place, tensor.sizes());
    return place.from_file(tensor);
  }

  std::optional<weights::Weight> read_weight(const std::string& name) const override {
    const auto& place = find(name);
    const auto [first, count] = rows_of(place);
    auto weight = file_->read_rows(place.gguf, first, count);
    if (!weight || !place.reorders()) return weight;
    return weights::map_tensors(
        *weight, [rows = place.order(count)](const at::Tensor& tensor) { return tensor.index_select(0, rows); });
  }

  std::optional<weights::Weight> outline(const std::string& name) const override {
    const auto& place = find(name);
    auto weight = file_->outline(place.gguf);
    if (!weight) return weight;
    return weights::map_tensors(
        *weight, [count = rows_of(place).second](const at::Tensor& tensor) { return tensor.narrow(0, 0, count); });
  }

  bool is_patchable() const override { return true; }
  std::vector<formats::BytePatch> patch(const std::string& name, const at::Tensor& values) const override {
    const auto& place = find(name);
    return file_->patch_rows(place.gguf, rows_of(place).first, place.to_file(values));
  }

  // Only floats are written, so the codes stay where they are.
  std::vector<formats::BytePatch> patch(const std::string& name, const weights::Weight& weight) const override {
    const auto& place = find(name);
    const auto [first, count] = rows_of(place);
    if (!place.reorders()) return file_->patch_rows(place.gguf, first, weight);
    auto in_file = weight;
    const auto rows = place.order(count).argsort();
    for (const auto& floats : weights::code_floats(in_file)) {
      *floats.values = floats.values->detach().cpu().index_select(0, rows);
    }
    return file_->patch_rows(place.gguf, first, in_file);
  }

 private:
  // The first of a tensor's rows in the file, and how many there are: a slice is one of several matrices, or vectors.
  std::pair<std::int64_t, std::int64_t> rows_of(const GgufPlace& place) const {
    const auto shape = file_->info(place.gguf).shape;
    std::int64_t rows = 1;
    for (std::size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
    if (place.slice < 0) return {0, rows};
    const auto count = rows / std::max<std::int64_t>(1, shape.front());
    return {place.slice * count, count};
  }

  const GgufPlace& find(const std::string& name) const {
    const auto found = places_.find(name);
    if (found == places_.end()) {
      fail("{}: is missing; the file is damaged, or of another kind of model", described(*this, name));
    }
    return found->second;
  }

  // Checks only that there are rows to reorder, or two dimensions to transpose. Callers check the shape against the
  // model.
  void check(const GgufPlace& place, at::IntArrayRef shape) const {
    if (place.groups > 0 && (shape.empty() || shape[0] < 3 * place.groups * place.head_size)) {
      fail("{}: tensor {}: rows of query, key and value expected, the file has {}", file_->file_of(place.gguf),
           place.gguf, c10::str(shape));
    }
    const auto refuse = [&](const std::string& expected) {
      fail("{}: tensor {}: {} expected, the file has {}", file_->file_of(place.gguf), place.gguf, expected,
           c10::str(shape));
    };
    if (place.transpose && shape.size() != 2) refuse("a matrix");
    if (place.rotary_heads == 0) return;
    const bool is_empty = shape.empty() || std::ranges::find(shape, 0) != shape.end();
    if (is_empty || shape[0] % (2 * place.rotary_heads) != 0) {
      refuse(fmt::format("rows of {} heads", place.rotary_heads));
    }
  }

  // Takes the first dimension, of experts or heads, off a shape.
  void take_slice(const GgufPlace& place, std::vector<std::int64_t>& shape) const {
    if (shape.size() < 2 || shape.front() <= place.slice) {
      fail("{}: tensor {}: at least {} parts expected, the file has {}", file_->file_of(place.gguf), place.gguf,
           place.slice + 1, c10::str(at::IntArrayRef(shape)));
    }
    shape.erase(shape.begin());
  }

  // The parts of one tensor are read one after the other: it is kept until those of another are wanted.
  at::Tensor slice_of(const GgufPlace& place) const {
    const std::scoped_lock lock(whole_mutex_);
    if (whole_name_ != place.gguf) {
      whole_ = at::Tensor();
      whole_ = file_->read(place.gguf);
      whole_name_ = place.gguf;
    }
    auto shape = whole_.sizes().vec();
    take_slice(place, shape);
    return whole_[place.slice].clone();
  }

  // A tensor without a Hugging Face name belongs to a different architecture.
  void refuse_others(const Family& family, const ModelConfig& config) const {
    std::set<std::string> known;
    for (const auto& [name, place] : places_) known.insert(place.gguf);
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
  std::unordered_map<std::string, GgufPlace> places_;
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
