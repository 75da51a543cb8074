#include "normtweak/pipeline/wide_norms.h"

#include <c10/core/ScalarType.h>
#include <c10/util/accumulate.h>

#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "normtweak/base/device/device.h"
#include "normtweak/base/error.h"
#include "normtweak/model/config_values.h"
#include "normtweak/model/parts.h"
#include "normtweak/pipeline/output_kind.h"

namespace normtweak::pipeline {
namespace {

constexpr const char* kFlag = "--norms f32";

bool has_16_bits(at::ScalarType type) { return type == at::kHalf || type == at::kBFloat16; }

// The names of tensors of norms, as `checkpoint.tensors` calls them.
std::vector<std::string> norm_tensors(const model::Checkpoint& checkpoint) {
  std::vector<std::string> names;
  for (const auto& norm : all_norms(*checkpoint.family, checkpoint.numbers)) {
    for (const auto* part : {".weight", ".bias"}) {
      auto stored = stored_name(checkpoint, norm.name + part);
      if (checkpoint.tensors->contains(stored)) names.push_back(std::move(stored));
    }
  }
  return names;
}

std::set<std::string> narrow_norms(const model::Checkpoint& checkpoint) {
  std::set<std::string> narrow;
  for (auto& name : norm_tensors(checkpoint)) {
    if (has_16_bits(checkpoint.tensors->info(name).type)) narrow.insert(std::move(name));
  }
  return narrow;
}

// The tensors of a file, some of them in F32.
class Widened : public formats::TensorSource {
 public:
  Widened(std::shared_ptr<const TensorSource> file, std::set<std::string> widened)
      : file_(std::move(file)), widened_(std::move(widened)) {}

  const std::vector<std::string>& names() const override { return file_->names(); }
  bool contains(const std::string& name) const override { return file_->contains(name); }
  formats::TensorInfo info(const std::string& name) const override {
    auto info = file_->info(name);
    if (widened_.contains(name)) info.type = at::kFloat;
    return info;
  }
  at::Tensor read(const std::string& name) const override {
    const auto values = file_->read(name);
    return widened_.contains(name) ? values.to(at::kFloat) : values;
  }
  std::optional<weights::Weight> read_weight(const std::string& name) const override {
    return file_->read_weight(name);
  }
  std::optional<weights::Weight> outline(const std::string& name) const override { return file_->outline(name); }
  std::optional<weights::ActivationQuantizer> input_quantizer(const std::string& name) const override {
    return file_->input_quantizer(name);
  }
  // Those in F32 have no place in the file to be put in.
  std::vector<formats::BytePatch> patch(const std::string& name, const at::Tensor& values) const override {
    return widened_.contains(name) ? TensorSource::patch(name, values) : file_->patch(name, values);
  }
  std::vector<formats::BytePatch> patch(const std::string& name, const weights::Weight& weight) const override {
    return file_->patch(name, weight);
  }
  bool is_patchable() const override { return file_->is_patchable(); }
  std::vector<std::string> files() const override { return file_->files(); }
  std::vector<std::string> doubts(const std::string& name) const override { return file_->doubts(name); }
  std::string file_of(const std::string& name) const override { return file_->file_of(name); }
  std::string name_in_file(const std::string& name) const override { return file_->name_in_file(name); }

 private:
  std::shared_ptr<const TensorSource> file_;
  std::set<std::string> widened_;
};

void check_can_widen(const model::Checkpoint& checkpoint, const std::string& narrow) {
  if (output_kind_of(checkpoint) == OutputKind::file) {
    fail("{}: {} is {}, and GGUF files are changed in place; write the file with norms in F32, as llama.cpp does",
         kFlag, described(*checkpoint.tensors, narrow), checkpoint.tensors->info(narrow).stored_as);
  }
  if (model::names_stored_type(checkpoint.config)) return;
  fail(
      "{}: {}/config.json names no dtype, and readers then take that of the tensors, which would change; write "
      "\"torch_dtype\": \"{}\" there",
      kFlag, checkpoint.path, float_type_name(checkpoint.numbers.stored_type));
}

}  // namespace

model::Checkpoint with_wide_norms(model::Checkpoint checkpoint, ProgressSink& progress) {
  auto narrow = narrow_norms(checkpoint);
  if (!narrow.empty()) check_can_widen(checkpoint, *narrow.begin());
  auto& loaded = checkpoint.numbers.stored_type;
  if (has_16_bits(loaded)) {
    progress.note(fmt::format(
        "{}: the figures are of floats that are loaded in float32; readers that load them in {}, as config.json says "
        "and as transformers and vLLM do by default, round the norms again",
        kFlag, float_type_name(loaded)));
  } else if (narrow.empty()) {
    progress.note(fmt::format("{}: has no effect, since the norms are stored and loaded in F32 already", kFlag));
  }
  checkpoint.tensors = std::make_shared<Widened>(std::move(checkpoint.tensors), std::move(narrow));
  loaded = at::kFloat;
  return checkpoint;
}

bool is_widened(const model::Checkpoint& checkpoint, const std::string& stored) {
  const auto info = checkpoint.tensors->info(stored);
  const auto count = c10::multiply_integers(info.shape);
  constexpr std::int64_t kNarrow = 2;  // bytes; a block type has fewer for each value
  return info.type == at::kFloat && info.stored_bytes == kNarrow * count;
}

std::int64_t widening_bytes(const model::Checkpoint& checkpoint) {
  std::int64_t bytes = 0;
  for (const auto& name : norm_tensors(checkpoint)) {
    if (is_widened(checkpoint, name)) bytes += checkpoint.tensors->info(name).stored_bytes;  // twice as many
  }
  return bytes;
}

}  // namespace normtweak::pipeline
