#include "normtweak/model/unread_tensors.h"

#include <set>

#include "normtweak/base/error.h"
#include "normtweak/formats/compressed_tensors.h"
#include "normtweak/model/decoder.h"

namespace normtweak::model {
namespace {

class ReadTensors {
 public:
  explicit ReadTensors(const Checkpoint& checkpoint)
      : family_(*checkpoint.family), is_quantized_(model::is_quantized(checkpoint)) {
    const auto& names = family_.names;
    const auto& config = checkpoint.numbers;
    read_.insert(fmt::format("{}.weight", names.embedding));
    if (!names.positions.empty()) read_.insert(fmt::format("{}.weight", names.positions));
    add_norm(std::string(names.final_norm));
    add_linear(std::string(names.head), !config.tied_head);
    for (int block = 0; block < config.layers; ++block) add_block(checkpoint, block);
  }

  bool contains(const std::string& name) const { return read_.contains(name); }

  // Whether a tensor of this name would take part in the forward pass.
  bool concerns(const std::string& name) const {
    const auto& names = family_.names;
    const auto lies_in = [&](std::string_view module) {
      return !module.empty() && name.starts_with(fmt::format("{}.", module));
    };
    return name.starts_with(names.block.substr(0, names.block.find('{'))) || lies_in(names.embedding) ||
           lies_in(names.positions) || lies_in(names.final_norm) || lies_in(names.head);
  }

 private:
  void add_norm(const std::string& module) {
    read_.insert(module + ".weight");
    if (family_.norm == NormKind::layer) read_.insert(module + ".bias");
  }

  // A bias that the config rules out is read as well: zeros are accepted.
  void add_linear(const std::string& module, bool looks_for_bias = true) {
    read_.insert(module + ".weight");
    if (looks_for_bias) read_.insert(module + ".bias");
    if (!is_quantized_) return;
    for (const auto part : formats::kPackedParts) read_.insert(fmt::format("{}.{}", module, part));
  }

  void add_block(const Checkpoint& checkpoint, int block) {
    const auto& names = family_.names;
    const auto full = [&](std::string_view part) {
      return fmt::format("{}.{}", fmt::format(fmt::runtime(names.block), block), part);
    };
    add_norm(full(names.attention_norm));
    add_norm(full(names.mlp_norm));
    for (const auto& linear : linear_shapes(checkpoint, block)) add_linear(linear.name);
    for (const auto name : family_.idle_tensors) read_.insert(full(name));
  }

  const Family& family_;
  bool is_quantized_;
  std::set<std::string> read_;
};

}  // namespace

void refuse_unread_tensors(const Checkpoint& checkpoint) {
  const ReadTensors read(checkpoint);
  const auto prefix = checkpoint.family->old_prefix;
  for (const auto& stored : checkpoint.tensors->names()) {
    const auto name = stored.starts_with(prefix) ? stored : fmt::format("{}{}", prefix, stored);
    if (read.contains(stored) || read.contains(name) || !(read.concerns(stored) || read.concerns(name))) continue;
    fail("{}: no part of this {} model as its config has it, so the passes would leave it out",
         described(*checkpoint.tensors, stored), checkpoint.family->name);
  }
}

}  // namespace normtweak::model
