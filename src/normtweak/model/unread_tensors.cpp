#include "normtweak/model/unread_tensors.h"

#include <set>

#include "normtweak/base/error.h"
#include "normtweak/model/decoder.h"
#include "normtweak/model/foreign_names.h"

namespace normtweak::model {
namespace {

class ReadTensors {
 public:
  explicit ReadTensors(const Checkpoint& checkpoint) : family_(*checkpoint.family) {
    const auto& config = checkpoint.numbers;
    for (const auto& table : table_shapes(family_, config)) read_.insert(fmt::format("{}.weight", table.name.name));
    if (!family_.embedding_norm.name.empty()) add_norm(embedding_norm_shape(family_, config));
    if (config.final_norm) add_norm(final_norm_shape(family_, config));
    add_linear(std::string(family_.head.name), !config.tied_head || config.head_bias);
    for (int block = 0; block < config.layers; ++block) add_block(config, block);
  }

  const std::set<std::string>& names() const { return read_; }
  bool contains(const std::string& name) const { return read_.contains(name); }

  // Whether a tensor of this name would take part in the forward pass.
  bool concerns(const std::string& name) const {
    const auto lies_in = [&](const PartName& part) {
      return !part.name.empty() && name.starts_with(fmt::format("{}.", part.name));
    };
    const auto block = family_.block.name;
    return name.starts_with(block.substr(0, block.find('{'))) || lies_in(family_.embedding) ||
           lies_in(family_.positions) || lies_in(family_.embedding_norm) || lies_in(family_.project_in) ||
           lies_in(family_.project_out) || lies_in(family_.final_norm) || lies_in(family_.head);
  }

 private:
  void add_norm(const NormShape& norm) {
    read_.insert(norm.name + ".weight");
    if (norm.has_bias) read_.insert(norm.name + ".bias");
  }

  // A bias that the config rules out is read as well: zeros are accepted.
  void add_linear(const std::string& module, bool looks_for_bias = true) {
    read_.insert(module + ".weight");
    if (looks_for_bias) read_.insert(module + ".bias");
  }

  void add_block(const ModelConfig& config, int block) {
    const auto parts = block_parts(family_, config, block);
    for (const auto& norm : parts.norms) add_norm(norm);
    for (const auto& linear : parts.linears) add_linear(linear.name);
    for (const auto name : family_.idle_tensors) {
      read_.insert(fmt::format("{}.{}", numbered(family_.block.name, block), name));
    }
  }

  const Family& family_;
  std::set<std::string> read_;
};

std::string without_prefix(const Family& family, const std::string& name) {
  return name.starts_with(family.base_prefix) ? name.substr(family.base_prefix.size()) : name;
}

// A name of the family with a part that does not belong there, such as `_orig_mod`.
void refuse_extra_part(const ReadTensors& read, const Checkpoint& checkpoint, const std::string& stored) {
  for (std::size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
    end = stored.find('.', begin);
    if (end == std::string::npos) return;
    const auto name = stored.substr(0, begin) + stored.substr(end + 1);
    if (read.contains(name) && !checkpoint.tensors->contains(stored_name(checkpoint, name))) {
      fail_missing(checkpoint, name);
    }
  }
}

}  // namespace

std::map<std::string, std::string> family_names(const Checkpoint& checkpoint) {
  std::map<std::string, std::string> names;
  const auto add = [&](const std::string& name) {
    const auto stored = stored_name(checkpoint, name);
    if (checkpoint.tensors->contains(stored)) names.emplace(stored, name);
  };
  add(fmt::format("{}.weight", checkpoint.family->embedding.name));  // first: a tied head may stand in for it
  const ReadTensors read(checkpoint);
  for (const auto& name : read.names()) add(name);
  return names;
}

void refuse_unread_tensors(const Checkpoint& checkpoint) {
  refuse_adapter(checkpoint);
  const ReadTensors read(checkpoint);
  const auto known = family_names(checkpoint);
  const auto& family = *checkpoint.family;
  for (const auto& stored : checkpoint.tensors->names()) {
    if (known.contains(stored)) continue;
    const auto bare = without_prefix(family, stored), full = fmt::format("{}{}", family.base_prefix, stored);
    for (const auto& name : {stored, bare, full}) {
      if (read.contains(name) && stored_name(checkpoint, name) != stored) {
        fail("{}: the file has {} as well, for the same part of the model; take one of them away",
             described(*checkpoint.tensors, stored), stored_name(checkpoint, name));
      }
    }
    if (!read.concerns(stored) && !read.concerns(bare) && !read.concerns(full)) continue;
    refuse_extra_part(read, checkpoint, stored);
    fail("{}: no part of this {} model as its config has it, so the passes would leave it out",
         described(*checkpoint.tensors, stored), family.name);
  }
}

}  // namespace normtweak::model
